/** A running task that follows channels: it asks the node's main thread for what comes next. */
import type { RunningAttempt } from "./running_attempt.ts";

/**
 * What was published on a channel.
 * @typeParam T what its publishers are known to send; nobody checks it.
 */
export interface ChannelMessage<T = unknown> {
  readonly id: string;
  readonly channel: string;
  /** The value that was published, a text, or `{base64}` of other bytes. */
  readonly message: T;
  /** Of what is no JSON. */
  readonly contentType?: string;
  /** ISO 8601. */
  readonly at: string;
}

/** Messages may have been missed. */
export interface ChannelGap {
  readonly gap: "too_slow" | "broker_away" | "not_kept";
  /** How many, where that is known. */
  readonly missed?: number;
  readonly at: string;
}

export type ToldEvent = ChannelMessage | ChannelGap;

export interface SubscribeOptions {
  /** Ends the loop, as `context.signal` does. */
  readonly signal?: AbortSignal;
  /** Called where messages may have been missed, before the next one. */
  readonly onGap?: (gap: ChannelGap) => void;
}

/** Messages in order. Leaving a `for await` loop over it ends the subscription. */
export interface ChannelSubscription<T = unknown> extends AsyncIterable<ChannelMessage<T>> {
  /** Resolves when nothing that is published from then on is missed. */
  readonly ready: Promise<void>;
  /** Takes nothing more, and ends the loop. Idempotent. */
  close(): Promise<void>;
}

export function subscribeTo<T>(
  attempt: RunningAttempt,
  pattern: string,
  options: SubscribeOptions = {},
): ChannelSubscription<T> {
  return new AskingSubscription<T>(attempt, String(pattern), options);
}

/** Well within what the main thread waits for a sign of life. */
const KEEP_MS = 20_000;

const DONE = { done: true, value: undefined } as const;

class AskingSubscription<T> implements ChannelSubscription<T> {
  readonly #attempt: RunningAttempt;
  readonly #onGap: SubscribeOptions["onGap"];
  readonly #id: Promise<string>;
  readonly #signals: readonly AbortSignal[];
  readonly #over = Promise.withResolvers<void>();
  readonly #keep: ReturnType<typeof setInterval>;
  #come: ToldEvent[] = [];
  #isClosed = false;

  constructor(attempt: RunningAttempt, pattern: string, { signal, onGap }: SubscribeOptions) {
    this.#attempt = attempt;
    this.#onGap = onGap;
    this.#id = attempt.services.ask("pubsub.subscribe", { pattern }, "", attempt.facts)
      .then(({ subscription }) => subscription);
    // Whoever never looks at it is not told; the loop is.
    this.#id.catch(() => undefined);
    this.#signals = signal === undefined ? [attempt.signal] : [attempt.signal, signal];
    this.#keep = setInterval(() => this.#say("pubsub.keep"), KEEP_MS);
    attempt.whenOver(this.#abort);
    for (const one of this.#signals) {
      one.addEventListener("abort", this.#abort);
      if (one.aborted) this.#abort();
    }
  }

  get ready(): Promise<void> {
    return this.#id.then(() => undefined);
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    this.#come = [];
    this.#over.resolve();
    clearInterval(this.#keep);
    for (const one of this.#signals) one.removeEventListener("abort", this.#abort);
    return this.#say("pubsub.unsubscribe");
  }

  [Symbol.asyncIterator](): AsyncIterator<ChannelMessage<T>, undefined> {
    return {
      next: async () => {
        const message = await this.#next();
        return message === undefined ? DONE : { done: false, value: message };
      },
      return: async () => {
        await this.close();
        return DONE;
      },
    };
  }

  async #next(): Promise<ChannelMessage<T> | undefined> {
    while (!this.#isClosed) {
      const event = this.#come.shift();
      if (event === undefined) await Promise.race([this.#fetch(), this.#over.promise]);
      else if ("gap" in event) this.#onGap?.(event);
      // Whoever subscribes says what it expects.
      else return event as ChannelMessage<T>;
    }
    return undefined;
  }

  async #fetch(): Promise<void> {
    const { services, facts } = this.#attempt;
    const request = { subscription: await this.#id };
    const { events, isOver } = await services.ask("pubsub.next", request, "", facts);
    if (this.#isClosed) return;
    this.#come.push(...events);
    if (isOver) await this.close();
  }

  /**
   * Never rejects: the main thread finds out by itself that nobody asks any more, and what there never
   * was, or is no more, is told to whoever asks for what comes next.
   */
  #say(what: "pubsub.keep" | "pubsub.unsubscribe"): Promise<void> {
    const { services, facts } = this.#attempt;
    return this.#id.then((subscription) => services.ask(what, { subscription }, "", facts))
      .then(() => undefined, () => undefined);
  }

  readonly #abort = () => void this.close();
}
