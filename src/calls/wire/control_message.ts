/**
 * Celery's remote control on the exchange `celery.pidbox`: here `revoke` alone.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#revoke-revoking-tasks
 */
import type { Delivery, Message } from "../../broker/message.ts";
import { CONTROL_EXCHANGE } from "../../broker/topology.ts";
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
  const command = {
    method: "revoke",
    arguments: { task_id: revocation.ids, terminate: revocation.terminate, signal: "SIGTERM" },
    destination: null,
    pattern: null,
    matcher: null,
  };
  return {
    exchange: CONTROL_EXCHANGE.name,
    routingKey: "",
    properties: { contentType: JSON_TYPE, contentEncoding: "utf-8", headers: { clock: 0 } },
    body: encoder.encode(JSON.stringify(command)),
  };
}

/** Reads a command; undefined for all that is not a revocation for every worker or this one. */
export function decodeRevocation(delivery: Delivery, node: string): Revocation | undefined {
  let command: unknown;
  try {
    command = JSON.parse(decoder.decode(delivery.message.body));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof command !== "object" || command === null) return undefined;
  const { method, arguments: args, destination } = command as Record<string, unknown>;
  if (method !== "revoke" && method !== "terminate") return undefined;
  if (Array.isArray(destination) && destination.length > 0 && !destination.includes(node)) {
    return undefined;
  }
  if (typeof args !== "object" || args === null) return undefined;
  const { task_id: ids, terminate } = args as Record<string, unknown>;
  return {
    ids: (Array.isArray(ids) ? ids : [ids]).filter((id): id is string => typeof id === "string"),
    terminate: terminate === true || method === "terminate",
  };
}
