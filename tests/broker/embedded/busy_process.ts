/**
 * Publishes, takes and acks without end, until it is killed, and writes down what it was told and
 * what it does: `confirmed ID`, `seen ID`, `acking ID`, one a line, each before it goes on.
 */
import { openSync, writeSync } from "node:fs";
import { EmbeddedBroker } from "../../../src/broker/embedded/embedded_broker.ts";

const PUBLISHERS = 32;
const [, , dataDir = "", logPath = "", round = ""] = process.argv;
const log = openSync(logPath, "a");
const note = (word: string, id: string) => writeSync(log, `${word} ${id}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

const broker = new EmbeddedBroker({ dataDir }).connect();
await broker.start();
await broker.declareQueue({ name: "work", maxPriority: 3 });
let last = 0;

async function publish(): Promise<never> {
  while (true) {
    const id = `${round}-${++last}`;
    await broker.publish({
      exchange: "",
      routingKey: "work",
      properties: { persistent: true, messageId: id, priority: last % 4 },
      body: new Uint8Array(last % 2000),
    }, { confirm: true, mandatory: true });
    note("confirmed", id);
  }
}

/** Slower than the publishers, so that a backlog grows; gives every third message back once. */
async function consume(): Promise<void> {
  const consumer = await broker.consume("work", { prefetch: 10 });
  let count = 0;
  for await (const delivery of consumer) {
    const { messageId: id = "" } = delivery.message.properties;
    note("seen", id);
    if (++count % 5 === 0) await turn();
    if (count % 3 === 0 && !delivery.redelivered) {
      delivery.nack({ requeue: true });
    } else {
      note("acking", id);
      delivery.ack();
    }
  }
}

console.log("busy");
await Promise.all([consume(), ...Array.from({ length: PUBLISHERS }, publish)]);
