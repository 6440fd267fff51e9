/**
 * PORT: all that the program asks of a message broker, in AMQP's words. Adapters stand beside it in
 * amqp/ and embedded/; tests/conformance/broker says what each of them must do.
 */
import type { Delivery, Message } from "./message.ts";

/** What not every adapter can do; the conformance suite skips by these names, with a reason. */
export type BrokerFeature =
  /** An expired message goes at its instant even behind messages that expire later. */
  | "exact-expiry"
  /** Durable queues keep persistent messages over a restart of the broker. */
  | "durable"
  /** Queues may be replicated (`type: "quorum"`). */
  | "quorum-queues";

export type ExchangeType = "direct" | "fanout" | "topic" | "headers";

export interface ExchangeSpec {
  readonly name: string;
  readonly type: ExchangeType;
  /** Default true. */
  readonly durable?: boolean;
  /** Default false. */
  readonly autoDelete?: boolean;
}

export interface QueueSpec {
  readonly name: string;
  /** Default true. */
  readonly durable?: boolean;
  /** Default "classic". */
  readonly type?: "classic" | "quorum";
  /** 1 to 255; absent: the queue ignores priorities. Not for quorum queues. */
  readonly maxPriority?: number;
  /** Exchange that takes expired, rejected and surplus messages. */
  readonly deadLetterExchange?: string;
  /** Default: the message's own routing key. */
  readonly deadLetterRoutingKey?: string;
  /** Default time to live for each message in the queue, in milliseconds. */
  readonly messageTtlMs?: number;
  /** Most messages that it keeps; the oldest are dead-lettered. */
  readonly maxLength?: number;
}

export interface BindingSpec {
  readonly exchange: string;
  readonly queue: string;
  /** Default "". For topic exchanges a pattern with `*` and `#`. */
  readonly routingKey?: string;
  /** For headers exchanges: the headers to match, with `x-match` "all" (default) or "any". */
  readonly arguments?: Readonly<Record<string, string | number | boolean>>;
}

export interface QueueStatus {
  readonly name: string;
  /** Messages ready for delivery. */
  readonly messages: number;
  readonly consumers: number;
  /**
   * Set by `declareQueue` where the queue exists with other arguments and is used as it is: what is
   * lost by that, in a sentence for the operator.
   */
  readonly mismatch?: string;
}

export interface PublishOptions {
  /** The message must reach at least one queue, or it is returned. Default false. */
  readonly mandatory?: boolean;
  /**
   * Wait until the broker has taken responsibility (publisher confirm): for a persistent message in
   * durable queues, until it is on disk. Default false: resolved when it is handed on.
   */
  readonly confirm?: boolean;
}

/**
 * `returned` is told only with `mandatory` and `confirm` together; without `confirm` returns are told
 * to `watchReturns`.
 */
export type PublishResult = "sent" | "confirmed" | "returned";

export interface ConsumeOptions {
  /** Most deliveries that may be unsettled at once, 1 to 65535. Ignored with `noAck`. */
  readonly prefetch: number;
  /** The broker forgets a message as it delivers it. Default false. */
  readonly noAck?: boolean;
  /**
   * No other consumer may have the queue besides: while this one lives, or while the broker still
   * believes that it does, others are refused (AMQP 0-9-1, basic.consume). Its prefetch stays what it
   * was at first. Default false.
   */
  readonly exclusive?: boolean;
}

/**
 * A consumer of one queue: an async iterator over its deliveries, in the broker's order. It outlives
 * reconnects: while the broker is away, or the queue is gone for a moment, it waits.
 * Leaving a `for await` loop over it closes it.
 */
export interface Consumer extends AsyncIterable<Delivery> {
  readonly queue: string;
  /** The broker knows this consumer at this moment. */
  readonly isLive: boolean;
  /**
   * Changes how many deliveries may be unsettled, soon; what is held already stays.
   * @throws RangeError when it is not 1 to 65535, or the consumer is exclusive.
   */
  setPrefetch(prefetch: number): void;
  /**
   * Takes no new deliveries, gives back those that the loop has not seen and ends the loop. What the
   * loop was handed may still be settled. Idempotent.
   */
  cancel(): Promise<void>;
  /** Cancels, and gives back all that is unsettled. Idempotent. */
  close(): Promise<void>;
}

export interface PrivateQueueOptions {
  /** The name starts with this; the rest is random. */
  readonly prefix: string;
  /** Bound anew each time that the queue is made. The exchanges must have been declared. */
  readonly bindings?: readonly Omit<BindingSpec, "queue">[];
  /** Default: deliveries need no ack (`noAck`), without a limit. */
  readonly prefetch?: number;
}

/**
 * An exclusive queue with its consumer. It lives and dies with the connection and gets a fresh name
 * after each reconnect, because the old name stays locked while the broker still believes in the old
 * connection. Deliveries need no ack unless a prefetch was asked for.
 */
export interface PrivateQueue extends AsyncIterable<Delivery> {
  /** The present name, ready to receive; undefined while there is none. */
  readonly name: string | undefined;
  /** Calls the listener at each change of the name; returns a function that ends this. */
  watch(listener: (name: string | undefined) => void): () => void;
  /**
   * Binds it, from now on each time that it is made anew too; resolves when the broker knows, which
   * waits while there is no queue. Thousands may be on the way at once. Idempotent.
   * @throws DeclarationError when the exchange is missing; BrokerAwayError when it was closed.
   */
  bind(binding: Omit<BindingSpec, "queue">): Promise<void>;
  /** Removes a binding for good; one that is not there is fine. */
  unbind(binding: Omit<BindingSpec, "queue">): Promise<void>;
  /** Deletes the queue and ends the loop. Idempotent. */
  close(): Promise<void>;
}

export type BrokerState =
  | { readonly kind: "idle" }
  /** `blocked`: the broker takes no publishes for now (its memory or disk alarm), and why. */
  | { readonly kind: "connected"; readonly since: Date; readonly blocked?: string }
  | { readonly kind: "away"; readonly since: Date; readonly reason: string }
  | { readonly kind: "stopped" };

/**
 * One connection to a broker as the program sees it (an adapter may use several sockets). Created
 * without effects; everything declared through it is declared again after a reconnect.
 *
 * While the broker is away, methods that need it reject with `BrokerAwayError` at once; consumers and
 * private queues wait. After `stop` all reject with it.
 */
export interface Broker {
  readonly features: ReadonlySet<BrokerFeature>;
  readonly state: BrokerState;
  /** Calls the listener after each change of `state`; returns a function that ends this. */
  watch(listener: (state: BrokerState) => void): () => void;
  /**
   * Connects; resolves when connected for the first time, and from then on keeps the connection up.
   * @throws BrokerAwayError when the signal aborts first, with the last failure as its cause.
   * @throws BrokerRefusedError when trying again cannot help: bad credentials, no such vhost, a
   *   certificate that is not trusted, a data folder in use.
   */
  start(signal?: AbortSignal): Promise<void>;
  /** Closes consumers (giving back the unsettled), private queues and the connection. Idempotent. */
  stop(): Promise<void>;
  /**
   * Asks the broker for a sign of life, besides what the adapter watches by itself. A connection that
   * gives none within `limitMs` (default 10 s) is dropped and made anew, which `state` tells.
   * @throws BrokerAwayError when not connected, or a connection gave no sign of life in time.
   */
  check(limitMs?: number): Promise<void>;

  /**
   * Declares an exchange. Idempotent.
   * @throws DeclarationError when it exists with another type or flags, or the name is not allowed.
   */
  declareExchange(spec: ExchangeSpec): Promise<void>;
  /** Declares a queue. Idempotent; a queue with other arguments is used as it is (`mismatch`). */
  declareQueue(spec: QueueSpec): Promise<QueueStatus>;
  /** Binds a queue to an exchange. Idempotent. @throws DeclarationError when either is missing. */
  bind(spec: BindingSpec): Promise<void>;
  /** Removes a binding; one that is not there is fine. */
  unbind(spec: BindingSpec): Promise<void>;
  /** Deletes a queue with its messages; one that is not there is fine. It is not declared again. */
  deleteQueue(name: string): Promise<void>;
  /** Removes the ready messages of a queue and tells how many there were. */
  purgeQueue(name: string): Promise<number>;
  /** Depth and consumers of a queue, or undefined where there is none. Declares nothing. */
  inspectQueue(name: string): Promise<QueueStatus | undefined>;

  /**
   * Publishes one message. Messages of one publisher to one queue keep their order.
   * @throws BrokerAwayError when not connected, blocked, or lost before the confirm came (the message
   *   may then have been taken).
   * @throws PublishRefusedError when the broker said no (nack) or the message cannot be written (a name
   *   over 255 bytes, a header of an unknown type); UnknownExchangeError, which is one, when the
   *   exchange does not exist.
   */
  publish(message: Message, options?: PublishOptions): Promise<PublishResult>;
  /** Calls the listener with each message returned as unroutable that nobody waits for. */
  watchReturns(listener: (message: Message) => void): () => void;

  /**
   * Starts a consumer; resolves when the broker knows it.
   * @throws DeclarationError: no such queue.
   * @throws QueueTakenError: somebody else has the queue for himself, or it has consumers and was to
   *   be had exclusively.
   */
  consume(queue: string, options: ConsumeOptions): Promise<Consumer>;
  /** Makes an exclusive queue with its consumer; resolves when it can receive. */
  openPrivateQueue(options: PrivateQueueOptions): Promise<PrivateQueue>;
}
