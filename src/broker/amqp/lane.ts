/**
 * One publishing channel and what is underway on it. The confirmed lane asks for publisher confirms
 * (https://www.rabbitmq.com/docs/confirms), the plain lane does not; see publisher.ts for why there
 * are two.
 */
import { Buffer } from "node:buffer";
import type { AMQPChannel, AMQPMessage } from "@cloudamqp/amqp-client";
import type { PublishResult } from "../broker.ts";
import { BrokerAwayError, PublishRefusedError, UnknownExchangeError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Connection } from "./connection.ts";
import { brokerReply, REPLY } from "./failure.ts";
import { writePublish } from "./frames.ts";
import { headersKey, readMessage } from "./properties.ts";

/** A message that the broker has not answered for yet. */
export interface Pending {
  readonly message: Message;
  readonly isMandatory: boolean;
  /** Absent: its publisher did not ask for a confirm, and follows another who did. */
  readonly answer?: {
    readonly resolve: (result: PublishResult) => void;
    readonly reject: (error: Error) => void;
  };
  /** Written by the lane: the broker's answer to come is that it could not route it. */
  isReturned: boolean;
}

export interface LaneEvents {
  /** A message came back that nobody waits for. */
  readonly returned: (message: Message) => void;
  /** The broker closed the channel, or the connection is lost. */
  readonly closed: (error: Error) => void;
}

export class Lane {
  readonly #connection: Connection;
  readonly #channel: AMQPChannel;
  readonly #events: LaneEvents;
  /** By the broker's number for them, in the order of publishing. */
  readonly #pending = new Map<number, Pending>();
  #published = 0;
  #isDrained: (() => void) | undefined;

  private constructor(connection: Connection, channel: AMQPChannel, events: LaneEvents) {
    this.#connection = connection;
    this.#channel = channel;
    this.#events = events;
    channel.onerror = (reason) => {
      const error = new Error(reason);
      this.fail(error);
      events.closed(error);
    };
    channel.onReturn = (message) => this.#returned(message);
    channel.publishConfirmed = (tag, isMultiple, isNack) => this.#told(tag, isMultiple, isNack);
  }

  static async open(
    connection: Connection,
    events: LaneEvents,
    { isConfirmed }: { readonly isConfirmed: boolean },
  ): Promise<Lane> {
    // A channel that is closed while it is opened makes this reject.
    const channel = await connection.openChannel(() => undefined);
    if (isConfirmed) await connection.orLost(channel.confirmSelect());
    return new Lane(connection, channel, events);
  }

  get isOpen(): boolean {
    return !this.#channel.closed && !this.#connection.isLost;
  }

  /** Messages that the broker has not answered for. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Writes a message. @throws Error when AMQP cannot carry it; then nothing is written. */
  write(message: Message, isMandatory: boolean): void {
    const { outbox, frameMax } = this.#connection;
    const target = { outbox, channelId: this.#channel.id, frameMaxBytes: frameMax };
    writePublish(target, message, isMandatory);
  }

  /** Writes a message that the broker will answer for. @throws as `write`. */
  writeConfirmed(pending: Pending): void {
    this.write(pending.message, pending.isMandatory);
    this.#published++;
    this.#pending.set(this.#published, pending);
  }

  /** Resolves when the broker has taken all that was written before, or with the channel. */
  async sync(): Promise<void> {
    // Any method with an answer serves: the broker works off a channel in order.
    await this.#connection.orLost(this.#channel.basicQos(0));
  }

  /** Resolves when nothing is pending, answered or lost. */
  drained(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#isDrained = resolve;
    });
  }

  /**
   * The channel is no more: whose fault it was is told so, the others that nobody knows whether the
   * broker has taken theirs.
   */
  fail(error: Error): void {
    const isGuilty = guiltOf(error);
    for (const { message, answer } of this.#pending.values()) {
      answer?.reject(
        isGuilty(message)
          ? refusalOf(message, error)
          : new BrokerAwayError(`Lost before the broker confirmed: ${error.message}`),
      );
    }
    this.#pending.clear();
    this.#isDrained?.();
  }

  #told(tag: number, isMultiple: boolean, isNack: boolean): void {
    if (isMultiple) {
      for (const [number, pending] of this.#pending) {
        if (number > tag) break;
        this.#settle(number, pending, isNack);
      }
    } else {
      const pending = this.#pending.get(tag);
      if (pending !== undefined) this.#settle(tag, pending, isNack);
    }
    if (this.#pending.size === 0) this.#isDrained?.();
  }

  #settle(number: number, { message, answer, isReturned }: Pending, isNack: boolean): void {
    this.#pending.delete(number);
    if (answer === undefined) return;
    if (isNack) answer.reject(new PublishRefusedError(refusalText(message, new Error("nack"))));
    else answer.resolve(isReturned ? "returned" : "confirmed");
  }

  /**
   * Basic.return comes before the confirm of the same message and does not name it: it is found by
   * what it carries. Where several are alike in everything, it does not matter which one is meant.
   */
  #returned(wire: AMQPMessage): void {
    const message = readMessage(wire);
    const alike = [...this.#alike(message)];
    const pending = alike.length > 1 ? alike.find(hasHeadersOf(message)) ?? alike[0] : alike[0];
    if (pending !== undefined) pending.isReturned = true;
    if (pending?.answer === undefined) this.#events.returned(message);
  }

  *#alike(message: Message): Iterable<Pending> {
    const { correlationId, messageId } = message.properties;
    for (const pending of this.#pending.values()) {
      const { message: sent } = pending;
      if (
        pending.isMandatory && !pending.isReturned &&
        sent.routingKey === message.routingKey && sent.exchange === message.exchange &&
        (sent.properties.correlationId || undefined) === correlationId &&
        (sent.properties.messageId || undefined) === messageId &&
        isSame(sent.body, message.body)
      ) yield pending;
    }
  }
}

/** The exchange that the broker closed a channel for, because it is not there. */
export function missingExchange(error: Error): string | undefined {
  const [, name] = /no exchange '(.*?)' in vhost/s.exec(brokerReply(error)?.text ?? "") ?? [];
  return name;
}

/** Which messages made the broker close the channel, from what it said. */
function guiltOf(error: Error): (message: Message) => boolean {
  const { code, text } = brokerReply(error) ?? { code: 0, text: "" };
  if (code === REPLY.notFound || code === REPLY.accessRefused) {
    const [, name] = /exchange '(.*?)' in vhost/s.exec(text) ?? [];
    return ({ exchange }) => exchange === name;
  }
  if (code === REPLY.preconditionFailed) {
    const [, bytes] = /message size (\d+)/.exec(text) ?? [];
    return ({ body }) => body.length === Number(bytes);
  }
  return () => false;
}

function refusalOf(message: Message, error: Error): PublishRefusedError {
  const text = refusalText(message, error);
  return missingExchange(error) === undefined
    ? new PublishRefusedError(text)
    : new UnknownExchangeError(text);
}

function refusalText({ exchange, routingKey }: Message, error: Error): string {
  const reason = brokerReply(error)?.text ?? error.message;
  return `Cannot publish to exchange "${exchange}" with key "${routingKey}": ${reason}`;
}

function hasHeadersOf({ properties: { headers } }: Message): (pending: Pending) => boolean {
  const key = headersKey(headers);
  return ({ message }) => headersKey(message.properties.headers) === key;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
