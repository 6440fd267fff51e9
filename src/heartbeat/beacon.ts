/**
 * The beacon: what a node tells of itself every so often, and its JSON. Anybody may read it, and
 * anybody may send one: unknown members are passed over. What is made of beacons is src/nodes.
 */
import * as v from "valibot";
import { readJsonBody } from "../broker/json_body.ts";

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));
const Instant = v.pipe(v.string(), v.check((text) => !Number.isNaN(Date.parse(text))));
const Names = v.pipe(v.array(v.string()), v.readonly());
const Name = v.pipe(v.string(), v.minLength(1), v.maxLength(255));

/** A consumer of a queue, of tasks or of messages; who sends beacons from elsewhere tells less. */
const Consumer = v.object({
  queue: v.string(),
  /** The broker knows the consumer now. */
  isLive: v.boolean(),
  exchange: v.exactOptional(v.string()),
  keys: v.exactOptional(Names),
  isPaused: v.exactOptional(v.boolean()),
  prefetch: v.exactOptional(v.number()),
  delivered: v.exactOptional(v.number()),
  settled: v.exactOptional(v.number()),
  deliveredPerSecond: v.exactOptional(v.number()),
  settledPerSecond: v.exactOptional(v.number()),
});

const Load = v.object({
  /** Attempts that run, and that wait for a slot. */
  running: Count,
  waiting: Count,
  isolates: Count,
  /** Killed isolates whose thread native code still holds. */
  stuckIsolates: Count,
  /** Queues that it consumes, and how. */
  consumers: v.pipe(v.array(Consumer), v.readonly()),
  /** Resident memory of the process. */
  memoryBytes: Count,
  /** Calls of a front that wait for their end. */
  pendingCalls: v.exactOptional(Count),
});

const introduction = {
  node: Name,
  /** "serve", "work" or "all"; another word where it is no node of ours. */
  role: v.string(),
  version: v.string(),
  startedAt: Instant,
  /** Since its start, by its own clock, so that nobody's clock need agree with it. */
  uptimeMs: Count,
  /** From one beacon to the next, in milliseconds; 0: it sends none unless it is asked to. */
  intervalMs: Count,
} as const;

/** Who a node is, without what it does now: the members of an introduction. */
export const Introduction = v.object(introduction);

const Beacon = v.object({
  ...introduction,
  /** Beats since its start. */
  count: Count,
  load: Load,
  /** Names of the tasks that it serves. */
  tasks: Names,
});

/** What a node does now. */
export type Load = v.InferOutput<typeof Load>;
export type Introduction = v.InferOutput<typeof Introduction>;
export type Beacon = v.InferOutput<typeof Beacon>;

/** The largest beacon that is read, in bytes: some 20,000 names of tasks. */
const MAX_BYTES = 1024 * 1024;

const encoder = new TextEncoder();

export function encodeBeacon(beacon: Beacon): Uint8Array {
  return encoder.encode(JSON.stringify(beacon));
}

/** Undefined for all that is no beacon. */
export function decodeBeacon(body: Uint8Array): Beacon | undefined {
  return body.length > MAX_BYTES ? undefined : readJsonBody(Beacon, body);
}
