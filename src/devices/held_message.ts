/**
 * What nodes say to each other of devices besides who came and went: a node asks, and nodes that hold
 * devices tell which, every so often and when they are asked. Nothing of it is kept: who missed it asks.
 */
import * as v from "valibot";
import { readJsonBody } from "../broker/json_body.ts";
import type { Message } from "../broker/message.ts";
import { DEVICE_STATUS_EXCHANGE } from "../broker/topology.ts";

/** Routing keys on `cox.device-status`. */
const KEYS = { asking: "ask", held: "held" } as const;

/** Devices in one message: some 60 KB. */
const ROWS = 1_000;

const Name = v.pipe(v.string(), v.minLength(1), v.maxLength(255));

/** One device: id, epoch, connected at, seen at (epoch milliseconds), address where it is not the id. */
export type HeldRow =
  | [id: string, epoch: number, connectedAt: number, seenAt: number]
  | [id: string, epoch: number, connectedAt: number, seenAt: number, address: string];

/** By hand: there may be ten thousand at once, of which a union of tuples makes 10 ms. */
function isHeldRow(value: unknown): value is HeldRow {
  if (!Array.isArray(value) || (value.length !== 4 && value.length !== 5)) return false;
  const [id, epoch, connectedAt, seenAt, address = id]: readonly unknown[] = value;
  return isName(id) && isInstant(epoch) && isInstant(connectedAt) && isInstant(seenAt) &&
    isName(address);
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value.length >= 1 && value.length <= 255;
}

function isInstant(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

const DeviceTalk = v.variant("type", [
  v.object({
    type: v.literal("asking"),
    node: Name,
    /** Names the question, for whoever waits until it has come back to him. */
    id: v.exactOptional(Name),
    /** A node that was taken for gone: it is to tell of all its devices as if they had come now. */
    renew: v.exactOptional(Name),
  }),
  v.object({
    type: v.literal("held"),
    node: Name,
    nodeStartedAt: Name,
    devices: v.array(v.custom<HeldRow>(isHeldRow)),
  }),
]);

export type DeviceTalk = v.InferOutput<typeof DeviceTalk>;
export type Held = Extract<DeviceTalk, { type: "held" }>;

const encoder = new TextEncoder();

export function talkMessage(talk: DeviceTalk): Message {
  return {
    exchange: DEVICE_STATUS_EXCHANGE.name,
    routingKey: KEYS[talk.type],
    properties: { contentType: "application/json" },
    body: encoder.encode(JSON.stringify(talk)),
  };
}

/** Whether a message has the routing key of talk. */
export function isTalk({ routingKey }: Message): boolean {
  return routingKey === KEYS.asking || routingKey === KEYS.held;
}

/** Undefined for what is none: anybody may publish on the exchange. */
export function decodeTalk(body: Uint8Array): DeviceTalk | undefined {
  return readJsonBody(DeviceTalk, body);
}

/** Rows in as many messages as they need; none need one, which says so. */
export function heldTalks(
  node: string,
  nodeStartedAt: string,
  rows: readonly HeldRow[],
): readonly Held[] {
  const count = Math.max(1, Math.ceil(rows.length / ROWS));
  return Array.from({ length: count }, (_, index) => ({
    type: "held",
    node,
    nodeStartedAt,
    devices: rows.slice(index * ROWS, (index + 1) * ROWS),
  }));
}
