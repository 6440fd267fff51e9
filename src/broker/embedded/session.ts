/** One connection to the embedded broker: the port, and what lives and dies with the connection. */
import type {
  BindingSpec,
  Broker,
  BrokerFeature,
  BrokerState,
  ConsumeOptions,
  Consumer,
  ExchangeSpec,
  PrivateQueue,
  PrivateQueueOptions,
  PublishOptions,
  PublishResult,
  QueueSpec,
  QueueStatus,
} from "../broker.ts";
import { BrokerAwayError, QueueTakenError } from "../errors.ts";
import type { Message } from "../message.ts";
import { checkPrefetch, type ConsumerHost, EmbeddedConsumer } from "./consumer.ts";
import type { Engine } from "./engine.ts";
import { EmbeddedPrivateQueue } from "./private_queue.ts";

const features: ReadonlySet<BrokerFeature> = new Set<BrokerFeature>(["exact-expiry", "durable"]);
const NO_OPTIONS: PublishOptions = {};

/** How a session opens and leaves the broker that it belongs to. */
export interface SessionHost {
  open(session: Session): Promise<Engine>;
  left(session: Session): Promise<void>;
}

export class Session implements Broker, ConsumerHost {
  readonly features = features;
  readonly #host: SessionHost;
  readonly #stateListeners = new Set<(state: BrokerState) => void>();
  readonly #returnListeners = new Set<(message: Message) => void>();
  readonly #consumers = new Set<EmbeddedConsumer>();
  readonly #privateQueues = new Map<string, EmbeddedPrivateQueue>();
  #state: BrokerState = { kind: "idle" };
  /** Set while the state is "connected". */
  #engine: Engine | undefined;
  readonly #tellReturned = (message: Message) => {
    for (const listener of this.#returnListeners) listener(message);
  };

  constructor(host: SessionHost) {
    this.#host = host;
  }

  get state(): BrokerState {
    return this.#state;
  }

  watch(listener: (state: BrokerState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  async start(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) {
      throw new BrokerAwayError("Cannot start the embedded broker: the start was aborted", {
        cause: signal.reason,
      });
    }
    if (this.#state.kind === "connected") return;
    if (this.#state.kind === "stopped") throw this.#away("start");
    const engine = await this.#host.open(this);
    // Stopped meanwhile.
    if (this.state.kind === "stopped") throw this.#away("start");
    this.#engine = engine;
    this.#become(connectedState(engine.blocked));
  }

  /** The broker is this process: one that was started answers. */
  check(): Promise<void> {
    return attempt(() => void this.#demand("check"));
  }

  async stop(): Promise<void> {
    if (this.#state.kind === "stopped") return;
    // In one turn, so that nothing new is opened meanwhile.
    for (const queue of [...this.#privateQueues.values()]) queue.release();
    for (const consumer of [...this.#consumers]) consumer.release();
    this.#engine = undefined;
    this.#become({ kind: "stopped" });
    await this.#host.left(this);
  }

  /** The broker is blocked (why), or is so no more. */
  noteBlocked(reason: string | undefined): void {
    if (this.#state.kind === "connected") this.#become(connectedState(reason, this.#state.since));
  }

  async declareExchange(spec: ExchangeSpec): Promise<void> {
    const { host, journal } = this.#demand("declare an exchange");
    host.declareExchange(spec);
    if (spec.durable !== false) await journal.committed();
  }

  async declareQueue(spec: QueueSpec): Promise<QueueStatus> {
    const { host, journal } = this.#demand("declare a queue");
    const status = host.declareQueue(spec);
    if (spec.durable !== false) await journal.committed();
    return status;
  }

  async bind(spec: BindingSpec): Promise<void> {
    const { host, journal } = this.#demand("bind a queue");
    host.bind(spec, this);
    await journal.committed();
  }

  async unbind(spec: BindingSpec): Promise<void> {
    const { host, journal } = this.#demand("unbind a queue");
    host.unbind(spec);
    await journal.committed();
  }

  async deleteQueue(name: string): Promise<void> {
    const { host, journal } = this.#demand("delete a queue");
    const mine = this.#privateQueues.get(name);
    if (mine !== undefined) return mine.release();
    host.deleteQueue(name, this);
    await journal.committed();
  }

  async purgeQueue(name: string): Promise<number> {
    const { host, journal } = this.#demand("purge a queue");
    const purged = host.demandQueue(name, this, "purge").purge();
    await journal.committed();
    return purged;
  }

  inspectQueue(name: string): Promise<QueueStatus | undefined> {
    return attempt(() => this.#demand("inspect a queue").host.queue(name)?.status);
  }

  publish(message: Message, options: PublishOptions = NO_OPTIONS): Promise<PublishResult> {
    const engine = this.#engine;
    if (engine === undefined) return Promise.reject(this.#away("publish"));
    return engine.publish(message, options, this.#tellReturned);
  }

  watchReturns(listener: (message: Message) => void): () => void {
    this.#returnListeners.add(listener);
    return () => this.#returnListeners.delete(listener);
  }

  consume(queue: string, options: ConsumeOptions): Promise<Consumer> {
    return attempt(() => {
      const source = this.#demand("consume").host.demandQueue(queue, this, "consume");
      if (!source.hasPlaceFor(options.exclusive ?? false)) {
        throw new QueueTakenError(
          `Cannot consume queue "${queue}": it is in exclusive use, or was to be so while it has ` +
            "consumers",
        );
      }
      const consumer = new EmbeddedConsumer(queue, this, options);
      this.#consumers.add(consumer);
      consumer.attach(source);
      return consumer;
    });
  }

  openPrivateQueue(options: PrivateQueueOptions): Promise<PrivateQueue> {
    return attempt(() => {
      const { host } = this.#demand("open a private queue");
      const { prefix, bindings = [], prefetch } = options;
      const name = `${prefix}.${crypto.randomUUID()}`;
      if (prefetch !== undefined) checkPrefetch(name, prefetch);
      host.declareQueue({ name, durable: false }, this);
      try {
        for (const binding of bindings) host.bind({ ...binding, queue: name }, this);
      } catch (error) {
        host.deleteQueue(name, this);
        throw error;
      }
      const consumer = new EmbeddedConsumer(
        name,
        this,
        prefetch === undefined ? { prefetch: 1, noAck: true } : { prefetch },
      );
      const queue = new EmbeddedPrivateQueue(name, consumer, {
        bind: (spec) => host.bind(spec, this),
        unbind: (spec) => host.unbind(spec),
        remove: () => {
          this.#privateQueues.delete(name);
          host.deleteQueue(name, this);
        },
      });
      this.#privateQueues.set(name, queue);
      consumer.attach(host.demandQueue(name, this, "consume"));
      return queue;
    });
  }

  awaitQueue(consumer: EmbeddedConsumer): void {
    this.#engine?.host.awaitQueue(consumer);
  }

  cancelled(consumer: EmbeddedConsumer): void {
    this.#engine?.host.stopAwaiting(consumer);
  }

  closed(consumer: EmbeddedConsumer): void {
    this.#consumers.delete(consumer);
  }

  #demand(action: string): Engine {
    if (this.#engine === undefined) throw this.#away(action);
    return this.#engine;
  }

  #away(action: string): BrokerAwayError {
    const why = this.#state.kind === "stopped" ? "it was stopped" : "it was not started";
    return new BrokerAwayError(`Cannot ${action} on the embedded broker: ${why}`);
  }

  #become(state: BrokerState): void {
    this.#state = state;
    for (const listener of [...this.#stateListeners]) listener(state);
  }
}

function connectedState(blocked: string | undefined, since = new Date()): BrokerState {
  return { kind: "connected", since, ...(blocked === undefined ? {} : { blocked }) };
}

/** What throws rejects. */
function attempt<T>(action: () => T): Promise<T> {
  try {
    return Promise.resolve(action());
  } catch (error) {
    return Promise.reject(error);
  }
}
