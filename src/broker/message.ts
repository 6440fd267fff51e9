/**
 * What travels through a broker: a message with its AMQP properties. Not the Celery wire format,
 * which lives in src/calls/codec.ts, and not how a client library spells these fields.
 */

/** A header value that AMQP 0-9-1 field tables can carry (RabbitMQ's types). */
export type HeaderValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | readonly HeaderValue[]
  | { readonly [key: string]: HeaderValue };

/**
 * A message's headers. Numbers must be integers in the signed 32-bit range: adapters may carry
 * fractions and larger integers with loss, so such values and instants travel as strings.
 */
export type MessageHeaders = Readonly<Record<string, HeaderValue>>;

/** AMQP 0-9-1 basic properties; each is absent when it was not set. */
export interface MessageProperties {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly headers?: MessageHeaders;
  /** Delivery mode 2: kept on disk by durable queues. Absent or false is delivery mode 1. */
  readonly persistent?: boolean;
  /** 0 (lowest, the default) to 255; a queue caps it at its own maximum. */
  readonly priority?: number;
  readonly correlationId?: string;
  /** Queue that the reply goes to, through the default exchange. */
  readonly replyTo?: string;
  /** Per-message time to live in a queue, in whole milliseconds. */
  readonly expirationMs?: number;
  readonly messageId?: string;
  /** Second precision on the wire. */
  readonly timestamp?: Date;
  readonly type?: string;
  readonly appId?: string;
}

/** A message as it is published: `exchange` "" is the default exchange, which routes by queue name. */
export interface Message {
  readonly exchange: string;
  readonly routingKey: string;
  readonly properties: MessageProperties;
  readonly body: Uint8Array;
}

/** A message as it is received by one consumer. It stays unsettled until `ack` or `nack`. */
export interface Delivery {
  readonly message: Message;
  /** The queue that it was taken from. */
  readonly queue: string;
  /** The broker has handed it out before and got it back unsettled. */
  readonly redelivered: boolean;
  /** Set where the adapter could not read the properties: why. The body may still be there. */
  readonly unreadable?: string;
  /**
   * Settles the delivery: the broker forgets the message. Settling twice does nothing; settling
   * after the connection was lost does nothing either, for the broker delivers it again.
   */
  ack(): void;
  /**
   * Gives the delivery back. With `requeue` the broker delivers it again, marked redelivered, at its
   * old place where it can; without, it goes to the queue's dead-letter exchange or is dropped.
   */
  nack(options: { readonly requeue: boolean }): void;
}
