/** What any broker must do, on a real RabbitMQ. Each connection goes through a proxy of its own. */
import { startRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../../src/broker/broker.ts";
import { describeBroker } from "../../conformance/broker/describe_broker.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";

const rabbit = await startRabbitMq();
const proxies = new Map<Broker, TcpProxy>();

describeBroker("amqp on RabbitMQ", {
  lacks: {
    "exact-expiry":
      "RabbitMQ drops an expired message of a classic queue only when it is at the queue's head",
  },
  create() {
    const proxy = new TcpProxy(rabbit.port);
    const broker = createAmqpBroker({ url: `amqp://guest:guest@127.0.0.1:${proxy.port}` });
    proxies.set(broker, proxy);
    return broker;
  },
  async restart() {
    await rabbit.stop();
    await rabbit.start();
  },
  async cutConnections(broker) {
    await proxies.get(broker)?.cut();
  },
  async dispose() {
    await Promise.all([...proxies.values()].map((proxy) => proxy[Symbol.asyncDispose]()));
    await rabbit.dispose();
  },
});
