/**
 * What a running task may ask of its node's main thread: one row for each question. How questions
 * travel is src/isolates; who answers them is put together in src/cli/run/.
 */
import type { ExchangeType } from "./consumer.ts";
import type { ToldEvent } from "./channel_subscription.ts";
import type { PlainJobOptions } from "./enqueue.ts";

/**
 * Question → what goes along, and what comes back; both are what JSON carries. A question may carry a
 * text besides, which the main thread need not parse.
 */
export interface Asks {
  /** Publishes to an exchange; the text is the body. Answered when the broker has taken it, or sooner. */
  "exchanges.publish": {
    readonly request: {
      readonly message: {
        readonly exchange: string;
        readonly key: string;
        readonly headers: Readonly<Record<string, string>>;
        readonly persistent: boolean;
        readonly contentType: string;
      };
      /** The text is bytes in base64. */
      readonly isBase64: boolean;
      readonly isAwaited: boolean;
    };
    readonly answer: null;
  };
  "exchanges.declare": {
    readonly request: {
      readonly name: string;
      readonly type: ExchangeType;
      readonly isDurable: boolean;
    };
    readonly answer: null;
  };
  /** Publishes on a channel; the text is the message as JSON. Answered when the broker has taken it. */
  "pubsub.publish": { readonly request: { readonly channel: string }; readonly answer: null };
  /** Follows channels; answered when nothing that comes from then on is missed. */
  "pubsub.subscribe": {
    readonly request: { readonly pattern: string };
    readonly answer: { readonly subscription: string };
  };
  /** What has come on a subscription, in order; none where nothing came for a while. */
  "pubsub.next": {
    readonly request: { readonly subscription: string };
    readonly answer: { readonly events: readonly ToldEvent[]; readonly isOver: boolean };
  };
  /** Whoever has it is still there, and busy with what it got. */
  "pubsub.keep": {
    readonly request: { readonly subscription: string };
    readonly answer: null;
  };
  "pubsub.unsubscribe": {
    readonly request: { readonly subscription: string };
    readonly answer: null;
  };
  /** Sends the text as one line to a device; answered when it is written, or the device has answered. */
  "devices.send": {
    readonly request: { readonly id: string; readonly replyMs?: number };
    /** What the device answered, where that was waited for; bytes that are not UTF-8 in base64. */
    readonly answer: { readonly text?: string; readonly base64?: string };
  };
  /** Accepts a job; the text is its input as JSON, or nothing. Answered when it is durable. */
  "jobs.enqueue": {
    readonly request: { readonly task: string; readonly options: PlainJobOptions };
    readonly answer: { readonly id: string };
  };
  /** Beats of the node since its start. */
  "heartbeat.count": { readonly request: null; readonly answer: number };
  /** Broadcasts a beacon now. */
  "heartbeat.alive": { readonly request: null; readonly answer: null };
  /** Ends a periodic callback for the whole node; answers whether there was such a one. */
  "heartbeat.unregister": { readonly request: { readonly id: string }; readonly answer: boolean };
}

export type AskName = keyof Asks;

/** The attempt that asks; undefined where code outside of any attempt does (a set-up, a teardown). */
export interface AskOrigin {
  readonly task: string;
  /** Id of the call or job. */
  readonly id: string;
}

/** Answers one question. Rejects with an error whose type and message the task is to see. */
export type AskHandler<Name extends AskName> = (
  request: Asks[Name]["request"],
  text: string,
  origin: AskOrigin | undefined,
) => Promise<Asks[Name]["answer"]>;

/** Who answers what on this node. What is missing is refused. */
export type AskHandlers = { readonly [Name in AskName]?: AskHandler<Name> };
