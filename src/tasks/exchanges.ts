/** `exchanges`: what a running task can do with exchanges, by way of its node's main thread. */
import { Buffer } from "node:buffer";
import type { ExchangeType } from "./consumer.ts";
import { currentAttempt, type RunningAttempt } from "./running_attempt.ts";

/** Options of `exchanges.publish`; all have defaults. */
export interface PublishOptions {
  /** Routing key. Default "". */
  readonly key?: string;
  /** Headers of the message, which a headers exchange looks at. Numbers and booleans become text. */
  readonly headers?: Readonly<Record<string, string | number | boolean>>;
  /** Kept on disk by durable queues. Default true. */
  readonly persistent?: boolean;
  /** Default: `text/plain` for a text, `application/octet-stream` for bytes, else JSON. */
  readonly contentType?: string;
  /** False: resolve as soon as the message is handed on. Default: when the broker has taken it. */
  readonly await?: boolean;
}

export interface Exchanges {
  /**
   * Publishes a message.
   * @param exchange an exchange of the application's; it must be there.
   * @param message a text or bytes travel as they are, anything else as JSON.
   * @throws Error named "UnknownExchange", "BadName" for a name that is empty or reserved,
   *   "PublishRefused", or "BrokerAwayError" when the broker is away for longer than 5 s.
   *
   * @example
   * await exchanges.publish("shop", { order: 7 }, { key: "order.7.paid" });
   */
  publish(exchange: string, message: unknown, options?: PublishOptions): Promise<void>;
  /**
   * Declares an exchange. Idempotent.
   * @throws Error named "ExchangeMismatch" when it exists with another type, "BadName",
   *   "BrokerAwayError".
   */
  declare(
    name: string,
    options: { readonly type: ExchangeType; readonly durable?: boolean },
  ): Promise<void>;
}

export const exchanges: Exchanges = {
  // Asynchronous, so that a message which cannot be carried rejects like every other failure.
  async publish(exchange, message, options = {}) {
    const attempt = running(`publish to exchange ${JSON.stringify(exchange)}`);
    const { key = "", headers = {}, persistent = true, await: isAwaited = true } = options;
    const { text, isBase64, contentType } = encode(exchange, message);
    await attempt.services.ask(
      "exchanges.publish",
      {
        message: {
          exchange: String(exchange),
          key: String(key),
          headers: Object.fromEntries(
            Object.entries(headers).map(([name, value]) => [name, String(value)]),
          ),
          persistent,
          contentType: options.contentType ?? contentType,
        },
        isBase64,
        isAwaited,
      },
      text,
      attempt.facts,
    );
  },

  async declare(name, { type, durable = true }) {
    const attempt = running(`declare exchange ${JSON.stringify(name)}`);
    const request = { name: String(name), type, isDurable: durable };
    await attempt.services.ask("exchanges.declare", request, "", attempt.facts);
  },
};

interface Encoded {
  readonly text: string;
  readonly isBase64: boolean;
  readonly contentType: string;
}

function encode(exchange: string, message: unknown): Encoded {
  if (typeof message === "string") {
    return { text: message, isBase64: false, contentType: "text/plain" };
  }
  if (message instanceof Uint8Array) {
    return {
      text: Buffer.from(message).toString("base64"),
      isBase64: true,
      contentType: "application/octet-stream",
    };
  }
  const json: string | undefined = JSON.stringify(message ?? null);
  if (json === undefined) {
    throw new Error(
      `Cannot publish to exchange ${JSON.stringify(exchange)}: ` +
        `the message must be a text, bytes or what JSON carries, got a ${typeof message}`,
    );
  }
  return { text: json, isBase64: false, contentType: "application/json" };
}

function running(action: string): RunningAttempt {
  const attempt = currentAttempt();
  if (attempt !== undefined) return attempt;
  throw new Error(`Cannot ${action}: no task is running here`);
}
