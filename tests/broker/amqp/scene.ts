/** The stage of the adapter's own tests: brokers that are stopped, queues of one's own, waits. */
import type { RabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { type AmqpBrokerOptions, createAmqpBroker } from "../../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../../src/broker/broker.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";

export {
  errorOf,
  eventually,
  numbered,
  Reader,
  textOf,
  toExchange,
  toQueue,
  within,
} from "../../conformance/broker/scene.ts";

/** What is promised to take 5 s may take five times that on a machine that has other work. */
export const RESTORED_LIMIT_MS = 25_000;
export const TEST_LIMIT_MS = 60_000;

export class Stage implements AsyncDisposable {
  readonly rabbit: RabbitMq;
  readonly #brokers: Broker[] = [];
  readonly #proxies: TcpProxy[] = [];
  readonly #queues: string[] = [];

  constructor(rabbit: RabbitMq) {
    this.rabbit = rabbit;
  }

  /** Another connection, not started. */
  create(options: Partial<AmqpBrokerOptions> = {}): Broker {
    const broker = createAmqpBroker({ url: this.rabbit.url, ...options });
    this.#brokers.push(broker);
    return broker;
  }

  /** Another connection, started. */
  async connect(options: Partial<AmqpBrokerOptions> = {}): Promise<Broker> {
    const broker = this.create(options);
    await broker.start();
    return broker;
  }

  proxy(port: number = this.rabbit.port): TcpProxy {
    const proxy = new TcpProxy(port);
    this.#proxies.push(proxy);
    return proxy;
  }

  name(): string {
    const name = `cox-amqp.${crypto.randomUUID()}`;
    this.#queues.push(name);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#brokers.map((broker) => broker.stop()));
    await Promise.all(this.#proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    const cleaner = createAmqpBroker({ url: this.rabbit.url });
    await cleaner.start();
    for (const queue of this.#queues) await cleaner.deleteQueue(queue);
    await cleaner.stop();
  }
}

export const urlOf = (port: number): string => `amqp://guest:guest@127.0.0.1:${port}`;
