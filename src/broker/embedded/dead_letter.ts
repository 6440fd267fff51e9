/**
 * What a message looks like once a queue has given it up, with its story in the headers that RabbitMQ
 * writes (`x-death`, `x-first-death-*`: rabbitmq.com/docs/dlx), so that readers need one way for both.
 */
import type { HeaderValue, Message, MessageHeaders } from "../message.ts";

export type DeathReason = "expired" | "maxlen" | "rejected";

/** The queue that gave the message up, as far as the letter's address needs it. */
export interface Deathbed {
  readonly name: string;
  readonly shape: {
    readonly deadLetterExchange?: string;
    readonly deadLetterRoutingKey?: string;
  };
}

type Death = Readonly<Record<string, HeaderValue>>;

/** The letter to publish. Its expiration is gone, or it would die again where it is kept. */
export function deadLetter(
  message: Message,
  bed: Deathbed,
  reason: DeathReason,
  /** Milliseconds since the epoch. */
  at: number,
): Message {
  const { expirationMs, headers = {}, ...properties } = message.properties;
  const deaths = deathsOf(headers);
  const earlier = deaths.find((death) => isOf(death, bed.name) && death["reason"] === reason);
  const count = typeof earlier?.["count"] === "number" ? earlier["count"] : 0;
  const death: Death = {
    count: count + 1,
    reason,
    queue: bed.name,
    time: new Date(Math.floor(at / 1000) * 1000),
    exchange: message.exchange,
    "routing-keys": [message.routingKey],
    ...(expirationMs === undefined ? {} : { "original-expiration": String(expirationMs) }),
  };
  const first = "x-first-death-reason" in headers ? {} : {
    "x-first-death-reason": reason,
    "x-first-death-queue": bed.name,
    "x-first-death-exchange": message.exchange,
  };
  return {
    exchange: bed.shape.deadLetterExchange ?? "",
    routingKey: bed.shape.deadLetterRoutingKey ?? message.routingKey,
    properties: {
      ...properties,
      headers: {
        ...headers,
        ...first,
        "x-death": [death, ...deaths.filter((other) => other !== earlier)],
      },
    },
    body: message.body,
  };
}

/**
 * The letter has been in this queue before, and nothing but time and lack of room has moved it since:
 * it would go round for ever.
 */
export function isCircling(letter: Message, queue: string): boolean {
  const deaths = deathsOf(letter.properties.headers ?? {});
  const last = deaths.findIndex((death) => isOf(death, queue));
  return last >= 0 && deaths.slice(0, last + 1).every((death) => death["reason"] !== "rejected");
}

/** The deaths so far, the newest first; what a publisher may have put there instead is no death. */
function deathsOf(headers: MessageHeaders): Death[] {
  const list = headers["x-death"];
  return Array.isArray(list) ? list.filter(isDeath) : [];
}

function isDeath(value: HeaderValue): value is Death {
  return typeof value === "object" && value !== null && "queue" in value && "reason" in value;
}

function isOf(death: Death, queue: string): boolean {
  return death["queue"] === queue;
}
