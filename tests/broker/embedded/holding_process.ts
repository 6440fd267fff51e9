/** Opens the broker of a folder and holds it until killed; ends with 3 where it is refused. */
import { EmbeddedBroker } from "../../../src/broker/embedded/embedded_broker.ts";
import { BrokerRefusedError } from "../../../src/broker/errors.ts";

const broker = new EmbeddedBroker({ dataDir: process.argv[2] ?? "" }).connect();
try {
  await broker.start();
} catch (error) {
  process.exit(error instanceof BrokerRefusedError ? 3 : 1);
}
await broker.declareQueue({ name: "held" });
const message = {
  exchange: "",
  routingKey: "held",
  properties: { persistent: true },
  body: new Uint8Array(1),
};
await broker.publish(message, { confirm: true });
console.log("open");
setInterval(() => undefined, 60_000);
