/**
 * What we ask of workers over Celery's remote control, on the exchange `celery.pidbox`: here `revoke`,
 * and `cancel_consumer` and `add_consumer`, which pause and resume a queue. How a worker reads commands
 * is src/celery/control.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#revoke-revoking-tasks
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#queues-adding-consumers
 */
import type { Delivery, Message } from "../../broker/message.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../broker/topology.ts";
import { JSON_TYPE } from "./names.ts";

/** Do not start these; with `terminate` also stop them where they run. */
export interface Revocation {
  readonly ids: readonly string[];
  readonly terminate: boolean;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Tells every worker, ours and Celery's, to refuse a task, and to stop it where it runs. */
export function encodeRevocation(revocation: Revocation): Message {
  return commandMessage("revoke", {
    task_id: revocation.ids,
    terminate: revocation.terminate,
    signal: "SIGTERM",
  }, null);
}

/**
 * Asks all workers, ours and Celery's, which of these requests they have.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#inspecting-workers
 * @param replyKey where `CONTROL_REPLY_EXCHANGE` is to bring the answers.
 */
export function encodeTaskQuery(
  { ids, ticket, replyKey }: {
    readonly ids: readonly string[];
    readonly ticket: string;
    readonly replyKey: string;
  },
): Message {
  return commandMessage("query_task", { ids }, null, {
    ticket,
    reply_to: { exchange: CONTROL_REPLY_EXCHANGE.name, routing_key: replyKey },
  });
}

/** Instants before 2001 are none. */
const EPOCH_SINCE = 1e12;

/** Where a request is. */
export interface TaskPlace {
  /** "ready" is one that is held until its ETA. */
  readonly state: "active" | "reserved" | "ready";
  /** The worker that has it. */
  readonly node: string;
  /** When it began to run, in epoch milliseconds, where its worker tells that. */
  readonly startedAt?: number;
}

export interface TaskQueryAnswer {
  /** What the question was sent with. */
  readonly ticket: string | undefined;
  readonly places: ReadonlyMap<string, TaskPlace>;
}

/** One worker's answer; undefined for what is none. */
export function decodeTaskQueryAnswer({ message }: Delivery): TaskQueryAnswer | undefined {
  const answer = jsonOf(message);
  if (!isRecord(answer)) return undefined;
  const places = new Map<string, TaskPlace>();
  for (const [node, requests] of Object.entries(answer)) {
    if (!isRecord(requests)) return undefined;
    for (const [id, request] of Object.entries(requests)) {
      const [state, info]: unknown[] = Array.isArray(request) ? request : [];
      if (state !== "active" && state !== "reserved" && state !== "ready") continue;
      const startedS = isRecord(info) ? info.time_start : undefined;
      const startedAt = typeof startedS === "number" ? Math.floor(startedS * 1_000) : 0;
      places.set(id, {
        state,
        node,
        // Some versions tell it by a clock that counts from the machine's start.
        ...(Number.isSafeInteger(startedAt) && startedAt > EPOCH_SINCE ? { startedAt } : {}),
      });
    }
  }
  const ticket = message.properties.headers?.ticket;
  return { ticket: typeof ticket === "string" ? ticket : undefined, places };
}

/**
 * Where commands go that are for our workers alone: a Celery worker that is told to add a consumer
 * takes from that queue whether it did so before or not.
 */
export const OUR_WORKERS = "cox.workers";

/** Tells all workers of ours that a queue was paused or resumed. */
export function encodeQueueCommand(queue: string, isPaused: boolean): Message {
  return commandMessage(isPaused ? "cancel_consumer" : "add_consumer", { queue }, [OUR_WORKERS]);
}

/** Undefined for all that is not JSON. */
function jsonOf({ body }: Message): unknown {
  try {
    return JSON.parse(decoder.decode(body));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function commandMessage(
  method: string,
  args: Readonly<Record<string, unknown>>,
  destination: readonly string[] | null,
  more: Readonly<Record<string, unknown>> = {},
): Message {
  const command = { method, arguments: args, destination, pattern: null, matcher: null, ...more };
  return {
    exchange: CONTROL_EXCHANGE.name,
    routingKey: "",
    properties: { contentType: JSON_TYPE, contentEncoding: "utf-8", headers: { clock: 0 } },
    body: encoder.encode(JSON.stringify(command)),
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
