/**
 * What nodes say on `cox.nodes`: a node introduces itself, a worker tells its tasks, a node leaves, a
 * front asks. The shapes and their JSON; what a front remembers of them is directory.ts and roster.ts.
 */
import * as v from "valibot";
import { readJsonBody } from "../broker/json_body.ts";
import { Introduction } from "../heartbeat/beacon.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";

/** A task as a front knows it. */
export interface KnownTask extends TaskDescriptor {
  /** Nodes that serve it now; empty where it is only remembered. */
  readonly nodes: readonly string[];
}

/** A queue of messages that nodes consume. */
export interface ConsumedQueue {
  readonly queue: string;
  readonly exchange?: string;
  readonly keys?: readonly string[];
  /** Nodes that consume it now, sorted; empty where it is only remembered. */
  readonly nodes: readonly string[];
}

/** Which task lives where: read by the caller, by `GET /tasks` and by `app tasks`. */
export interface TaskDirectory {
  find(task: string): KnownTask | undefined;
  /** What a call needs of it, at the cost of a look-up. */
  descriptor(task: string): TaskDescriptor | undefined;
  /** Sorted by name. */
  list(): readonly KnownTask[];
  /**
   * Resolves when workers have had time to answer the question that a front asks when it connects:
   * before that, a task that is not known may only not be known yet.
   * @throws the signal's reason when it aborts first.
   */
  settled(signal?: AbortSignal): Promise<void>;
  readonly isSettled: boolean;
}

const Descriptor = v.object({
  name: v.string(),
  file: v.string(),
  queue: v.string(),
  timeoutMs: v.number(),
  softTimeoutMs: v.exactOptional(v.number()),
  isolation: v.picklist(["worker", "process"]),
  retry: v.exactOptional(v.object({
    limit: v.number(),
    backoff: v.picklist(["exponential", "fixed"]),
    baseMs: v.number(),
    capMs: v.number(),
    onTimeout: v.exactOptional(v.boolean()),
  })),
  redact: v.exactOptional(v.object({ input: v.boolean(), result: v.boolean() })),
});

const AnnouncedConsumer = v.object({
  queue: v.string(),
  exchange: v.exactOptional(v.string()),
  keys: v.exactOptional(v.array(v.string())),
});

const Schedule = v.object({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  spec: v.variant("kind", [
    v.object({ kind: v.literal("every"), everyMs: v.pipe(v.number(), v.minValue(1_000)) }),
    v.object({
      kind: v.literal("cron"),
      expression: v.string(),
      timeZone: v.exactOptional(v.string()),
    }),
  ]),
  task: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  input: v.string(),
  file: v.string(),
});

/** A queue of messages that a node says it consumes. */
export type AnnouncedConsumer = v.InferOutput<typeof AnnouncedConsumer>;

const Announcement = v.variant("type", [
  /** A node serves these tasks, consumes these queues and wants these schedules now, and no others. */
  v.object({
    type: v.literal("serving"),
    node: v.string(),
    tasks: v.array(Descriptor),
    consumers: v.exactOptional(v.array(AnnouncedConsumer)),
    schedules: v.exactOptional(v.array(Schedule)),
  }),
  /** A node is there, and how often it will send beacons. */
  v.object({ type: v.literal("present"), ...Introduction.entries }),
  /** A node takes no more work, or no more requests. */
  v.object({ type: v.literal("leaving"), node: v.string() }),
  /** Whoever is there, or the one node `whom`: introduce yourself, and say what you serve. */
  v.object({
    type: v.literal("asking"),
    node: v.string(),
    whom: v.exactOptional(v.string()),
  }),
]);

export type Announcement = v.InferOutput<typeof Announcement>;

const encoder = new TextEncoder();

export function encodeAnnouncement(announcement: Announcement): Uint8Array {
  return encoder.encode(JSON.stringify(announcement));
}

/** Undefined for all that is not an announcement: anybody may publish on the exchange. */
export function decodeAnnouncement(body: Uint8Array): Announcement | undefined {
  return readJsonBody(Announcement, body);
}
