/** Queues and exchanges past any front: endings of src/messages as the operator's commands tell them. */
import type { PublishConfig } from "../config/config.ts";
import type { DeclareEnding, Exchanges, PublishEnding } from "../messages/exchanges.ts";
import type { QueueFailure, Queues } from "../messages/queues.ts";
import { EXIT } from "./exit_code.ts";
import type { PublishedMessage } from "./publish_command.ts";
import type { QueueAction, QueueSource } from "./queues_command.ts";
import { StartupError } from "./startup_error.ts";

export function queueSource(queues: Queues): QueueSource {
  return {
    async queues() {
      const listed = await queues.list();
      if (listed.kind !== "listed") throw failureOf(listed);
      return JSON.stringify(listed.queues);
    },
    async steer(action: QueueAction, queue: string) {
      if (action === "purge") {
        const ending = await queues.purge(queue);
        if (ending.kind !== "purged") throw failureOf(ending);
        return JSON.stringify({ queue, purged: ending.messages });
      }
      const isPaused = action === "pause";
      const ending = await queues.setPaused(queue, isPaused);
      if (ending.kind !== "done") throw failureOf(ending);
      return JSON.stringify({ queue, isPaused });
    },
  };
}

/** @throws StartupError saying why it was not taken. */
export async function publishToExchange(
  exchanges: Exchanges,
  exchange: string,
  { text, contentType }: PublishedMessage,
  { key, headers, isPersistent, isAwaited, type }: PublishConfig["options"],
): Promise<string> {
  if (type !== undefined) {
    const declared = await exchanges.declare(exchange, type, true);
    if (declared.kind !== "declared") throw failureOf(declared);
  }
  const body = new TextEncoder().encode(text);
  const message = { exchange, key, headers, body, contentType, persistent: isPersistent };
  const ending = await exchanges.publish(message, { isAwaited });
  if (ending.kind !== "published") throw failureOf(ending);
  const { isRouted } = ending;
  return JSON.stringify({ exchange, key, ...(isRouted === undefined ? {} : { isRouted }) });
}

type Failure =
  | QueueFailure
  | Exclude<PublishEnding | DeclareEnding, { readonly kind: "published" | "declared" }>;

function failureOf({ kind, message }: Failure): StartupError {
  return new StartupError(message, {
    exitCode: kind === "broker_away" ? EXIT.noBroker : EXIT.wrongUsage,
  });
}
