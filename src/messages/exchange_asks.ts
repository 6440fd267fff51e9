/** What running tasks ask for: to publish to exchanges, and to declare them. */
import { Buffer } from "node:buffer";
import { EXCHANGE_TYPES } from "../reserved_names.ts";
import type { AskHandler } from "../tasks/asks.ts";
import type { DeclareEnding, Exchanges, PublishEnding } from "./exchanges.ts";

/** How long a task's message waits for the broker to come back. */
const PATIENCE_MS = 5_000;

export interface ExchangeAsks {
  readonly "exchanges.publish": AskHandler<"exchanges.publish">;
  readonly "exchanges.declare": AskHandler<"exchanges.declare">;
}

export function exchangeAsks(exchanges: Exchanges): ExchangeAsks {
  return {
    "exchanges.publish": async ({ message, isBase64, isAwaited }, text) => {
      const body = isBase64
        ? new Uint8Array(Buffer.from(text, "base64"))
        : new TextEncoder().encode(text);
      const settings = { isAwaited, patienceMs: PATIENCE_MS };
      throwUnless("published", await exchanges.publish({ ...message, body }, settings));
      return null;
    },
    "exchanges.declare": async ({ name, type, isDurable }) => {
      // A task's author may have passed by the types, and RabbitMQ would close the connection.
      if (!EXCHANGE_TYPES.includes(type) || typeof isDurable !== "boolean") {
        const types = EXCHANGE_TYPES.join(", ");
        throw new TypeError(
          `Cannot declare exchange ${JSON.stringify(name)}: type must be one of ${types}, ` +
            `got ${JSON.stringify(type)}; durable must be true or false`,
        );
      }
      throwUnless("declared", await exchanges.declare(name, type, isDurable));
      return null;
    },
  };
}

/** What the error is called that the task sees. */
const ERROR_NAMES = {
  bad_name: "BadName",
  unknown_exchange: "UnknownExchange",
  mismatch: "ExchangeMismatch",
  refused: "PublishRefused",
  broker_away: "BrokerAwayError",
} as const;

function throwUnless(
  well: "published" | "declared",
  ending: PublishEnding | DeclareEnding,
): void {
  if (ending.kind === well || ending.kind === "published" || ending.kind === "declared") return;
  const error = new Error(ending.message);
  error.name = ERROR_NAMES[ending.kind];
  throw error;
}
