/**
 * A worker with the consumers of tests/support/tasks/consumers.ts on a broker, what its handlers
 * logged, and a connection beside it that speaks as any application would.
 */
import { fileURLToPath } from "node:url";
import type { Broker, Consumer } from "../../src/broker/broker.ts";
import type { HeaderValue, Message, MessageProperties } from "../../src/broker/message.ts";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import type { TaskLogLine } from "../../src/isolates/pool.ts";
import { NodesChannel } from "../../src/nodes/nodes_channel.ts";
import { PeriodicCallbacks } from "../../src/worker/periodic.ts";
import { Worker } from "../../src/worker/worker.ts";
import { makePool } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

export const CONSUMERS = fileURLToPath(
  new URL("../support/tasks/consumers.ts", import.meta.url).href,
);

/** A broker to test on. */
export interface BrokerUnderTest {
  /** A connection, not started. */
  connect(): Broker;
  /** Cuts a connection, which comes back by itself. Absent where it cannot be lost. */
  cut?(broker: Broker): Promise<void>;
  dispose(): Promise<void>;
}

/** What a handler logged. */
export interface Handled {
  readonly body: unknown;
  readonly kind: string;
  readonly envelope: {
    readonly exchange: string;
    readonly routingKey: string;
    readonly redelivered: boolean;
    readonly queue: string;
  };
  readonly properties: Readonly<Record<string, unknown>>;
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly id: string;
  readonly headers: Readonly<Record<string, string>>;
  /** When it was logged, in milliseconds of a clock that only grows. */
  readonly at: number;
}

export class ConsumerScene implements AsyncDisposable {
  readonly handled: Handled[] = [];
  /** Queues of handlers that came to their end. */
  readonly finished: string[] = [];
  /** Connection of the application beside the worker. */
  readonly app: Broker;
  readonly #under: BrokerUnderTest;
  readonly #brokers: Broker[] = [];
  readonly #workers = new Map<Worker, { readonly broker: Broker; readonly nodes: NodesChannel }>();

  private constructor(under: BrokerUnderTest, app: Broker) {
    this.#under = under;
    this.app = app;
    this.#brokers.push(app);
  }

  static async open(under: BrokerUnderTest): Promise<ConsumerScene> {
    const app = under.connect();
    await app.start();
    return new ConsumerScene(under, app);
  }

  /** Starts a worker for some of the queues. */
  async work(queues: readonly string[], paths: readonly string[] = [CONSUMERS]): Promise<Worker> {
    const node = `worker-${this.#workers.size + 1}`;
    const broker = this.#under.connect();
    await broker.start();
    this.#brokers.push(broker);
    const nodes = new NodesChannel({ broker, node, settleMs: 0 });
    await nodes.start();
    const pool = makePool({
      taskPaths: paths,
      isolates: 2,
      nodeId: node,
      onLog: (line) => this.#hear(line),
    });
    const worker = new Worker({
      broker,
      nodes,
      pool,
      periodic: new PeriodicCallbacks(new Heartbeat()),
      node,
      queues,
      queueType: "classic",
      slots: 2,
      lookAhead: "auto",
      groupAnswers: false,
      maxBodyBytes: 1_000_000,
    });
    this.#workers.set(worker, { broker, nodes });
    await worker.start();
    return worker;
  }

  /** Stops one worker as its node would. */
  async stop(worker: Worker, graceMs = 5_000): Promise<void> {
    const parts = this.#workers.get(worker);
    this.#workers.delete(worker);
    await worker.stop(AbortSignal.timeout(graceMs));
    await parts?.nodes.stop();
    await parts?.broker.stop();
  }

  /** Loses a worker's connection; resolves when it is back. */
  async cut(worker: Worker): Promise<void> {
    const broker = this.#workers.get(worker)?.broker;
    if (broker === undefined || this.#under.cut === undefined) throw new Error("cannot be cut");
    const away = Promise.withResolvers<void>();
    const back = Promise.withResolvers<void>();
    const unwatch = broker.watch(({ kind }) => {
      if (kind === "away") away.resolve();
      if (kind === "connected") back.resolve();
    });
    await this.#under.cut(broker);
    await away.promise;
    await back.promise;
    unwatch();
  }

  /** Publishes as an application does: confirmed. */
  async publish(
    exchange: string,
    routingKey: string,
    body: unknown,
    properties: MessageProperties = {},
  ): Promise<void> {
    const bytes = body instanceof Uint8Array
      ? body
      : new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
    await this.app.publish({ exchange, routingKey, properties, body: bytes }, { confirm: true });
  }

  /** Waits until so many messages have been handled. */
  async handledCount(count: number): Promise<readonly Handled[]> {
    await until(`${count} messages are handled`, () => this.handled.length >= count, 20_000);
    return this.handled;
  }

  async first(): Promise<Handled> {
    const [first] = await this.handledCount(1);
    if (first === undefined) throw new Error("nothing was handled");
    return first;
  }

  async depth(queue: string): Promise<number | undefined> {
    return (await this.app.inspectQueue(queue))?.messages;
  }

  /** The next dead letter, taken off its queue. */
  async deadLetter(): Promise<Message> {
    await until("there are dead letters", async () => {
      return (await this.depth("cox.dead-letters") ?? 0) > 0;
    }, 20_000);
    const consumer: Consumer = await this.app.consume("cox.dead-letters", { prefetch: 1 });
    for await (const delivery of consumer) {
      delivery.ack();
      return delivery.message;
    }
    throw new Error("the consumer ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of [...this.#workers.keys()]) await this.stop(worker, 0);
    for (const queue of await this.#queues()) await this.app.deleteQueue(queue);
    for (const broker of this.#brokers.reverse()) await broker.stop();
  }

  #queues(): Promise<readonly string[]> {
    const names = ["plain", "short", "once", "single", "direct", "headers"];
    return Promise.resolve([
      ...names,
      ...["topic.words", "topic.all", "fanout.1", "fanout.2"],
      ...["cox.dead-letters", "cox.paused.plain"],
    ]);
  }

  #hear({ message, fields }: TaskLogLine): void {
    if (message === "finished") this.finished.push(String(fields["queue"]));
    if (message !== "handled") return;
    this.handled.push({ ...fields as Omit<Handled, "at">, at: performance.now() });
  }
}

/** A header of a message as text or number. */
export function header({ properties }: Message, name: string): HeaderValue | undefined {
  return properties.headers?.[name];
}
