/** The names and shapes of what the program declares on a broker: the one table of design §6. */
import type { BindingSpec, ExchangeSpec, QueueSpec } from "./broker.ts";

/** Fanout: announcements, who serves which task. */
export const NODES_EXCHANGE: ExchangeSpec = { name: "cox.nodes", type: "fanout" };
/** Fanout: the beacons of nodes, for whoever binds a queue to it. The name is configured. */
export function heartbeatExchange(name: string): ExchangeSpec {
  return { name, type: "fanout" };
}
/** Fanout, not durable: Celery's remote control. */
export const CONTROL_EXCHANGE: ExchangeSpec = {
  name: "celery.pidbox",
  type: "fanout",
  durable: false,
};
/** Direct, not durable: where the answers to Celery's remote control go. */
export const CONTROL_REPLY_EXCHANGE: ExchangeSpec = {
  name: "reply.celery.pidbox",
  type: "direct",
  durable: false,
};
/** Topic: what Celery's workers tell of themselves (`worker.*`) and of their tasks (`task.*`). */
export const CELERY_EVENTS_EXCHANGE: ExchangeSpec = { name: "celeryev", type: "topic" };
/** Topic: channels for applications. */
export const PUBSUB_EXCHANGE: ExchangeSpec = { name: "cox.pubsub", type: "topic" };
/** Topic: what happens to jobs (`event.<kind>.<id>`), and questions to the recorder (`ask.<what>`). */
export const JOBS_EXCHANGE: ExchangeSpec = { name: "cox.jobs", type: "topic" };
/** Where job events wait for the recorder. Declared by every node: an event must find it. */
export const RECORDER_QUEUE: QueueSpec = { name: "cox.recorder" };
/** Binds all job events to the recorder's queue. */
export const RECORDER_BINDING: BindingSpec = {
  exchange: JOBS_EXCHANGE.name,
  queue: RECORDER_QUEUE.name,
  routingKey: "event.#",
};
/** Headers: what the broker itself gives up. */
export const DEAD_EXCHANGE: ExchangeSpec = { name: "cox.dead", type: "headers" };
/**
 * What of it is kept: jobs, whatever befell them, and what a consumer rejected of a Celery client's,
 * whose worker knows no task of ours. Expired calls vanish.
 */
export const DEAD_BINDINGS: readonly BindingSpec[] = [
  { "x-match": "all", "cox-kind": "job" },
  { "x-match": "all-with-x", lang: "py", "x-first-death-reason": "rejected" },
  { "x-match": "all-with-x", "cox-from": "celery", "x-first-death-reason": "rejected" },
].map((wanted) => ({ exchange: "cox.dead", queue: "cox.dead-letters", arguments: wanted }));
/** Where workers put messages that nobody can run, with the reason and the history. */
export const DEAD_LETTERS_QUEUE: QueueSpec = { name: "cox.dead-letters" };
/** Dead letters that are too large for a record. */
export const LARGE_DEAD_LETTERS_QUEUE: QueueSpec = { name: "cox.dead-letters.large" };
/**
 * Where Celery's workers answer for jobs, for the recorder. Declared by every node that accepts jobs.
 * Where nobody records for long, the oldest answers go.
 */
export const CELERY_REPLIES_QUEUE: QueueSpec = { name: "cox.celery-replies", maxLength: 1_000_000 };
/** All recorders of a broker consume it; one whose records nobody may share has it alone. */
export const RECORDER_LOCK_QUEUE: QueueSpec = { name: "cox.recorder.lock" };

/** Direct: commands, by the id of the device, to the queue of the node that holds it. */
export const DEVICES_EXCHANGE: ExchangeSpec = { name: "cox.devices", type: "direct" };
/**
 * Topic: devices that came (`online.<device>`) or went (`offline.<device>`), and between the nodes
 * that hold devices and those that list them, what they ask (`ask`) and tell (`held`).
 */
export const DEVICE_STATUS_EXCHANGE: ExchangeSpec = { name: "cox.device-status", type: "topic" };
/**
 * Where what happened to devices waits for the recorder. Declared by every node that tells it. Where
 * nobody records for days, the oldest statuses go: the latest of a device says what it is.
 */
export const DEVICE_STATUS_QUEUE: QueueSpec = { name: "cox.device-status", maxLength: 1_000_000 };
/** Binds what is recorded of devices to the recorder's queue. */
export const DEVICE_STATUS_BINDINGS: readonly BindingSpec[] = ["online.*", "offline.*"].map(
  (routingKey) => ({
    exchange: DEVICE_STATUS_EXCHANGE.name,
    queue: DEVICE_STATUS_QUEUE.name,
    routingKey,
  }),
);

/** Queue of tasks that name none. */
export const DEFAULT_QUEUE = "default";
/** Queue of the tasks that are compiled in. */
export const DEMO_QUEUE = "demo";
/** Priorities that a classic task queue tells apart: 0 to 10. */
export const MAX_PRIORITY = 10;

/**
 * A queue that workers take tasks from.
 * @param type classic queues know priorities; quorum queues are replicated and know none.
 */
export function taskQueue(name: string, type: "classic" | "quorum"): QueueSpec {
  return {
    name,
    type,
    deadLetterExchange: DEAD_EXCHANGE.name,
    ...(type === "classic" ? { maxPriority: MAX_PRIORITY } : {}),
  };
}
