/**
 * One test's stage: connections, queues and exchanges with names of its own, all taken away after it,
 * and the means to wait for what a broker does in its own time.
 */
import { expect, test } from "bun:test";
import type {
  Broker,
  Consumer,
  ExchangeSpec,
  ExchangeType,
  QueueSpec,
} from "../../../src/broker/broker.ts";
import type { Delivery, Message, MessageProperties } from "../../../src/broker/message.ts";
import type { BrokerHarness, SuiteFeature } from "./harness.ts";

/** How long a wait may last before the test fails; far above what any broker needs. */
const WAIT_LIMIT_MS = 20_000;
const TEST_LIMIT_MS = 60_000;

export type SceneTest = {
  /** A test that every adapter must pass. */
  (title: string, run: (scene: Scene) => Promise<void>): void;
  /** A test of a feature. An adapter that lacks it must say so on both sides, with a reason. */
  needs(feature: SuiteFeature, title: string, run: (scene: Scene) => Promise<void>): void;
};

export function sceneTests(harness: BrokerHarness): SceneTest {
  const play = async (run: (scene: Scene) => Promise<void>): Promise<void> => {
    await using scene = await Scene.open(harness);
    await run(scene);
  };
  const define = (title: string, run: (scene: Scene) => Promise<void>): void =>
    test(title, () => play(run), TEST_LIMIT_MS);
  const needs = (
    feature: SuiteFeature,
    title: string,
    run: (scene: Scene) => Promise<void>,
  ): void => {
    const reason = harness.lacks[feature];
    if (reason === undefined) return define(title, run);
    define(`${title}: lacks "${feature}"`, (scene) => {
      expect(reason.length).toBeGreaterThan(20);
      const features: ReadonlySet<string> = scene.broker.features;
      expect(features.has(feature)).toBe(false);
      return Promise.resolve();
    });
  };
  return Object.assign(define, { needs });
}

export class Scene implements AsyncDisposable {
  readonly harness: BrokerHarness;
  /** The first connection, started. */
  readonly broker: Broker;
  readonly #brokers: Broker[] = [];
  readonly #queues = new Set<string>();

  private constructor(harness: BrokerHarness, broker: Broker) {
    this.harness = harness;
    this.broker = broker;
    this.#brokers.push(broker);
  }

  static async open(harness: BrokerHarness): Promise<Scene> {
    const broker = harness.create();
    await broker.start();
    return new Scene(harness, broker);
  }

  /** One more connection, not started. */
  create(): Broker {
    const broker = this.harness.create();
    this.#brokers.push(broker);
    return broker;
  }

  /** One more connection, started. */
  async connect(): Promise<Broker> {
    const broker = this.create();
    await broker.start();
    return broker;
  }

  /** A name that nobody else uses; a queue of this name is deleted after the test. */
  name(): string {
    const name = `cox-suite.${crypto.randomUUID()}`;
    this.#queues.add(name);
    return name;
  }

  /** Declares a queue with a name of its own and returns the name. */
  async queue(spec: Omit<QueueSpec, "name"> = {}): Promise<string> {
    const name = this.name();
    await this.broker.declareQueue({ name, ...spec });
    return name;
  }

  /** Declares an exchange, which goes with its last binding, and returns its name. */
  async exchange(type: ExchangeType, spec: Omit<ExchangeSpec, "name" | "type"> = {}) {
    const name = this.name();
    await this.broker.declareExchange({ name, type, autoDelete: true, ...spec });
    return name;
  }

  /** Publishes texts to a queue, in this order, each confirmed. */
  async fill(
    queue: string,
    texts: readonly string[],
    properties: MessageProperties = {},
  ): Promise<void> {
    await Promise.all(
      texts.map((text) => this.broker.publish(toQueue(queue, text, properties), { confirm: true })),
    );
  }

  /** Waits until a queue holds exactly so many ready messages. */
  async depth(queue: string, messages: number): Promise<void> {
    await eventually(
      async () => (await this.broker.inspectQueue(queue))?.messages,
      (found) => found === messages,
      `${messages} messages in ${queue}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const cleaner = this.harness.create();
    await cleaner.start();
    await Promise.all(this.#brokers.map((broker) => broker.stop()));
    for (const queue of this.#queues) await cleaner.deleteQueue(queue);
    await cleaner.stop();
  }
}

/** Reads an async iterable by hand, with a limit on each wait. */
export class Reader {
  readonly #iterator: AsyncIterator<Delivery>;

  constructor(source: AsyncIterable<Delivery>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  async next(): Promise<Delivery> {
    const step = await within(this.#iterator.next(), "the next delivery");
    if (step.done === true) throw new Error("The loop ended where a delivery was expected");
    return step.value;
  }

  async take(count: number): Promise<Delivery[]> {
    const taken: Delivery[] = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }

  /** The next so many texts, each acked. */
  async takeTexts(count: number): Promise<string[]> {
    const taken: string[] = [];
    while (taken.length < count) {
      const delivery = await this.next();
      taken.push(textOf(delivery));
      delivery.ack();
    }
    return taken;
  }

  /** Resolves when the loop ends; what comes before the end fails the test. */
  async end(): Promise<void> {
    const step = await within(this.#iterator.next(), "the end of the loop");
    expect(step.done).toBe(true);
  }
}

export async function within<T>(promise: Promise<T>, what: string, limitMs = WAIT_LIMIT_MS) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${limitMs} ms for ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until the answer is right; returns it. */
export async function eventually<T>(
  probe: () => T | Promise<T>,
  isRight: (value: T) => boolean,
  what: string,
  limitMs = WAIT_LIMIT_MS,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  while (true) {
    const value = await probe();
    if (isRight(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`Waited ${limitMs} ms for ${what}; last seen: ${String(value)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Reads all that a queue holds now, by a consumer of its own, and acks it. */
export async function drain(broker: Broker, queue: string): Promise<Delivery[]> {
  const count = (await broker.inspectQueue(queue))?.messages ?? 0;
  const consumer: Consumer = await broker.consume(queue, { prefetch: 65_535 });
  const taken = await new Reader(consumer).take(count);
  for (const delivery of taken) delivery.ack();
  await consumer.close();
  return taken;
}

export function toQueue(
  queue: string,
  text: string,
  properties: MessageProperties = {},
): Message {
  return toExchange("", queue, text, properties);
}

export function toExchange(
  exchange: string,
  routingKey: string,
  text: string,
  properties: MessageProperties = {},
): Message {
  return { exchange, routingKey, properties, body: new TextEncoder().encode(text) };
}

export function textOf(delivery: { readonly message: Message }): string {
  return new TextDecoder().decode(delivery.message.body);
}

/** "m1" to "mN". */
export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `m${index + 1}`);
}

/** The error that a promise rejects with; a promise that resolves fails the test. */
export async function errorOf(promise: Promise<unknown>): Promise<Error> {
  const outcome = await within(
    promise.then((value) => ({ value }), (error: unknown) => ({ error })),
    "a rejection",
  );
  if (!("error" in outcome)) {
    throw new Error(`Resolved with ${String(outcome.value)} where a rejection was expected`);
  }
  if (!(outcome.error instanceof Error)) throw new Error("Rejected with what is no Error");
  return outcome.error;
}
