/**
 * The broker port on RabbitMQ. Two connections, for a broker that blocks a publisher reads nothing more
 * from its connection, acks neither: one publishes, the other consumes and declares.
 */
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
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
import { BrokerAwayError } from "../errors.ts";
import type { Message } from "../message.ts";
import { guardClient } from "./client_guard.ts";
import { Connection, type ConnectionOptions, type TlsTexts } from "./connection.ts";
import { Control, declarationError } from "./control.ts";
import { parseEndpoint } from "./endpoint.ts";
import { brokerReply, reasonOf } from "./failure.ts";
import { Link } from "./link.ts";
import { Listeners } from "./listeners.ts";
import { pause } from "./pause.ts";
import { AmqpPrivateQueue } from "./private_queue.ts";
import { Publisher } from "./publisher.ts";
import { QueueConsumer } from "./queue_consumer.ts";
import { Topology } from "./topology.ts";

export interface AmqpBrokerOptions {
  /** `amqp://` or `amqps://user:password@host:port/vhost`. */
  readonly url: string;
  /** For amqps. Default: the runtime's list of authorities, no certificate of our own. */
  readonly tls?: TlsTexts;
  /** Shown in RabbitMQ's list of connections. Default "coxswain". */
  readonly name?: string;
  /**
   * Queues that programs of others declare too, without any arguments: RabbitMQ refuses whoever declares
   * a queue with other arguments than it has, so here they have none either. Default: none.
   */
  readonly plainQueues?: readonly string[];
  /**
   * Asked for; the broker may lower it. After twice this without a byte it counts as lost here; RabbitMQ
   * takes twice to three times this (rabbit_heartbeat) until it lets go of what a lost node held, a
   * minute with the default of 20 s.
   */
  readonly heartbeatMs?: number;
  /** Asked for; the broker may lower it. From 8192. */
  readonly frameMaxBytes?: number;
  /** How long one try to connect may take; `start` goes on trying. */
  readonly connectTimeoutMs?: number;
  readonly clock?: Clock;
}

const FEATURES: ReadonlySet<BrokerFeature> = new Set(["durable", "quorum-queues"]);
/** How long a check waits for the broker's answer. */
const CHECK_LIMIT_MS = 10_000;
/** How long `stop` waits for consumers to give back, and for confirms that are underway. */
const STOP_LIMIT_MS = 2_000;

/**
 * A broker on RabbitMQ, without effects until it is started. Numbers in headers travel exactly:
 * integers beyond 32 bits as 64, fractions as 64-bit floats.
 * @throws RangeError when the URL is no AMQP URL.
 */
export function createAmqpBroker(options: AmqpBrokerOptions): Broker {
  return new AmqpBroker(options);
}

class AmqpBroker implements Broker {
  readonly features = FEATURES;
  readonly #clock: Clock;
  readonly #plainQueues: ReadonlySet<string>;
  readonly #consuming: Link;
  readonly #publishing: Link;
  readonly #publisher: Publisher;
  readonly #topology: Topology;
  readonly #consumers = new Set<QueueConsumer>();
  readonly #privateQueues = new Set<AmqpPrivateQueue>();
  readonly #stateListeners = new Listeners<BrokerState>();
  readonly #returnListeners = new Listeners<Message>();
  #state: BrokerState = { kind: "idle" };
  /** Of the present consuming connection. */
  #control: Control | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor({
    url,
    tls,
    name = "coxswain",
    plainQueues = [],
    heartbeatMs = 20_000,
    frameMaxBytes = 131_072,
    connectTimeoutMs = 5_000,
    clock = systemClock,
  }: AmqpBrokerOptions) {
    this.#clock = clock;
    this.#plainQueues = new Set(plainQueues);
    const connection: Omit<ConnectionOptions, "name"> = {
      endpoint: parseEndpoint(url),
      tls,
      heartbeatMs,
      frameMaxBytes,
      clock,
    };
    this.#consuming = new Link({
      connection: { ...connection, name: `${name} consumes` },
      connectTimeoutMs,
      prepare: (connection) => this.#prepareConsuming(connection),
      changed: (now) => this.#changed(now),
    });
    this.#publishing = new Link({
      connection: { ...connection, name: `${name} publishes` },
      connectTimeoutMs,
      prepare: (connection) => this.#preparePublishing(connection),
      changed: (now) => {
        if (!(now instanceof Connection)) this.#publisher.detach(now.reason);
        this.#changed(now);
      },
    });
    this.#topology = new Topology({
      control: () => this.#presentControl(),
      ownerOf: (queue) => [...this.#privateQueues].find(({ name }) => name === queue),
    });
    this.#publisher = new Publisher({
      hasExchange: (name) => this.#topology.hasExchange(name),
      restoreExchange: (name) => this.#topology.restoreExchange(name),
      returned: (message) => this.#returnListeners.tell(message),
    });
  }

  get state(): BrokerState {
    return this.#state;
  }

  watch(listener: (state: BrokerState) => void): () => void {
    return this.#stateListeners.add(listener);
  }

  watchReturns(listener: (message: Message) => void): () => void {
    return this.#returnListeners.add(listener);
  }

  start(signal: AbortSignal = new AbortController().signal): Promise<void> {
    return this.#starting ??= this.#start(signal);
  }

  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async check(limitMs = CHECK_LIMIT_MS): Promise<void> {
    const connections = [this.#consuming, this.#publishing].map(({ connection }) => connection);
    await Promise.all(connections.map(async (connection) => {
      if (this.#stopping !== undefined || connection === undefined) throw this.#away();
      await connection.check(limitMs).catch((error: unknown) => {
        throw new BrokerAwayError(`The broker connection is lost: ${reasonOf(error)}`);
      });
    }));
  }

  async declareExchange(spec: ExchangeSpec): Promise<void> {
    await this.#topology.declareExchange(spec);
    this.#publisher.learnExchange(spec.name);
  }

  declareQueue(spec: QueueSpec): Promise<QueueStatus> {
    const { name, durable = true } = spec;
    return this.#topology.declareQueue(this.#plainQueues.has(name) ? { name, durable } : spec);
  }

  bind(spec: BindingSpec): Promise<void> {
    return this.#topology.bind(spec);
  }

  unbind(spec: BindingSpec): Promise<void> {
    return this.#topology.unbind(spec);
  }

  deleteQueue(name: string): Promise<void> {
    return this.#topology.deleteQueue(name);
  }

  purgeQueue(name: string): Promise<number> {
    return this.#topology.purgeQueue(name);
  }

  inspectQueue(name: string): Promise<QueueStatus | undefined> {
    return this.#topology.inspectQueue(name);
  }

  publish(message: Message, options: PublishOptions = {}): Promise<PublishResult> {
    const connection = this.#stopping === undefined ? this.#publishing.connection : undefined;
    if (connection === undefined) return Promise.reject(this.#away());
    if (connection.blocked !== undefined) {
      return Promise.reject(
        new BrokerAwayError(`The broker takes no messages now: ${connection.blocked}`),
      );
    }
    return this.#publisher.publish(message, options);
  }

  async consume(
    queue: string,
    { prefetch, noAck = false, exclusive = false }: ConsumeOptions,
  ): Promise<Consumer> {
    const consumer = new QueueConsumer({
      queue,
      prefetch,
      noAck,
      exclusive,
      link: this.#consuming,
      clock: this.#clock,
      redeclare: (name) => this.#topology.restoreQueue(name),
      ended: (ended) => this.#consumers.delete(ended),
    });
    await this.#begin(`consume queue "${queue}"`, consumer, this.#consumers);
    return consumer;
  }

  async openPrivateQueue(options: PrivateQueueOptions): Promise<PrivateQueue> {
    const queue = new AmqpPrivateQueue({
      asked: options,
      link: this.#consuming,
      clock: this.#clock,
      bindAlone: (spec) => this.#topology.bind(spec),
      ended: (ended) => this.#privateQueues.delete(ended),
    });
    await this.#begin(`open private queue "${options.prefix}…"`, queue, this.#privateQueues);
    return queue;
  }

  /** Starts what lives on the consuming connection, and keeps it in mind for `stop`. */
  async #begin<T extends { start(connection: Connection): Promise<void> }>(
    action: string,
    part: T,
    parts: Set<T>,
  ): Promise<void> {
    const connection = this.#stopping === undefined ? this.#consuming.connection : undefined;
    if (connection === undefined) throw this.#away();
    // From the start, so that a stop meanwhile ends its loop.
    parts.add(part);
    try {
      await part.start(connection);
    } catch (error) {
      parts.delete(part);
      const isLost = connection.isLost && brokerReply(error) === undefined;
      throw isLost ? this.#away() : declarationError(action, error);
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    if (this.#stopping !== undefined) throw this.#away();
    guardClient();
    try {
      await Promise.all([this.#consuming.start(signal), this.#publishing.start(signal)]);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #stop(): Promise<void> {
    const over = new AbortController();
    const work = Promise.all([
      ...[...this.#consumers, ...this.#privateQueues].map((part) => part.close()),
      this.#publisher.drained(),
    ]);
    await Promise.race([work, pause(this.#clock, STOP_LIMIT_MS, over.signal)]);
    over.abort();
    await Promise.all([this.#publishing.stop(), this.#consuming.stop()]);
    this.#publisher.detach("stopped");
    this.#setState({ kind: "stopped" });
  }

  async #prepareConsuming(connection: Connection): Promise<void> {
    const control = new Control(connection, this.#clock);
    await this.#topology.restoreAll(control);
    this.#control = control;
  }

  /**
   * What is published must find what was declared, and this connection may be back before the other.
   * Its declarations come before its first publish, so they are never blocked.
   */
  async #preparePublishing(connection: Connection): Promise<void> {
    await this.#topology.restoreAll(new Control(connection, this.#clock));
    await this.#publisher.attach(connection);
    connection.onblocked = (reason) => {
      this.#publisher.rejectHeld(reason);
      this.#changed(connection);
    };
    connection.onunblocked = () => this.#changed(connection);
  }

  #presentControl(): Control {
    const isUp = this.#stopping === undefined && this.#consuming.connection !== undefined;
    if (!isUp || this.#control === undefined) throw this.#away();
    return this.#control;
  }

  #changed(now: Connection | { readonly reason: string }): void {
    if (this.#stopping !== undefined) return;
    const publishing = this.#publishing.connection;
    if (publishing === undefined || this.#consuming.connection === undefined) {
      if (this.#state.kind !== "connected" || now instanceof Connection) return;
      this.#setState({ kind: "away", since: this.#now(), reason: now.reason });
      return;
    }
    const { blocked } = publishing;
    const since = this.#state.kind === "connected" ? this.#state.since : this.#now();
    this.#setState({ kind: "connected", since, ...(blocked === undefined ? {} : { blocked }) });
  }

  #setState(state: BrokerState): void {
    this.#state = state;
    this.#stateListeners.tell(state);
  }

  #now(): Date {
    return new Date(this.#clock.now());
  }

  #away(): BrokerAwayError {
    const { state } = this;
    const why = state.kind === "away"
      ? state.reason
      : this.#stopping !== undefined
      ? "it was stopped"
      : "it is not connected";
    return new BrokerAwayError(`The broker is away: ${why}`);
  }
}
