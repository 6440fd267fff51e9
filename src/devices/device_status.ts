/**
 * That a device came or went, as it travels on `cox.device-status`: its shape, its JSON, its routing
 * key, and which of two is the later word. What is recorded of it is not said here.
 */
import * as v from "valibot";
import { DEVICE_STATUS_EXCHANGE } from "../broker/topology.ts";
import type { Message } from "../broker/message.ts";
import { deviceWord, isDeviceId } from "./device_id.ts";

const Id = v.pipe(v.string(), v.check(isDeviceId));
/** A database refuses a NUL. */
const Text = v.pipe(v.string(), v.maxLength(255), v.check((text) => !text.includes("\0")));
const Name = v.pipe(Text, v.minLength(1));
const Instant = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Why a device is offline. */
export const OFFLINE_REASONS = [
  /** It closed the connection. */
  "closed",
  /** The connection broke. */
  "lost",
  /** A newer connection of the same id took its place. */
  "replaced",
  /** Nothing was heard of it for too long. */
  "idle",
  /** It sent a line that is longer than lines may be. */
  "line-too-long",
  /** It did not read what it was sent. */
  "not-reading",
  /** Its node stopped. */
  "node-stopped",
  /** Its node is no more, and did not say so. */
  "node-gone",
] as const;

export type OfflineReason = (typeof OFFLINE_REASONS)[number];

const DeviceStatusShape = v.object({
  device: Id,
  change: v.picklist(["online", "offline"]),
  /**
   * Names the connection: a later connection of the same id has a greater epoch, on whichever node and
   * whatever its clock says. Its online and its offline have the same.
   */
  epoch: Instant,
  /** The node that holds it, or held it. */
  node: Name,
  /** When that node was started, as its beacons say it: ISO 8601. */
  nodeStartedAt: v.pipe(Text, v.check((text) => !Number.isNaN(Date.parse(text)))),
  /** Its remote address, `host:port`. */
  address: Name,
  /** When it happened, in epoch milliseconds by the clock of who tells it, as the following. */
  at: Instant,
  /** When it connected. */
  connectedAt: Instant,
  /** When something was heard of it last, as far as who tells it knows. */
  lastSeenAt: Instant,
  /**
   * Of one connection: grows each time that its node tells it online again, because somebody took the
   * node for gone. Absent: 0.
   */
  revision: v.exactOptional(Instant),
  /** With "offline": why. */
  reason: v.exactOptional(v.picklist(OFFLINE_REASONS)),
});

export type DeviceStatus = v.InferOutput<typeof DeviceStatusShape>;

/** Which connection of an id a status speaks of. */
export type StatusOrder = Pick<DeviceStatus, "epoch" | "node" | "revision" | "change">;

/**
 * Whether a status is later word than another of the same device: of a later connection, or the end of
 * the same one. So a late offline undoes no online of elsewhere, and what comes twice changes nothing.
 * Two nodes may give one epoch at one instant: then their names decide.
 */
export function isLaterStatus(status: StatusOrder, than: StatusOrder): boolean {
  if (status.epoch !== than.epoch) return status.epoch > than.epoch;
  if (status.node !== than.node) return status.node > than.node;
  const [revision, revisionBefore] = [status.revision ?? 0, than.revision ?? 0];
  if (revision !== revisionBefore) return revision > revisionBefore;
  return status.change === "offline" && than.change === "online";
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Persistent, with the routing key `online.<word>` or `offline.<word>`, of the device's word. */
export function statusMessage(status: DeviceStatus): Message {
  return {
    exchange: DEVICE_STATUS_EXCHANGE.name,
    routingKey: `${status.change}.${deviceWord(status.device)}`,
    properties: { contentType: "application/json", persistent: true },
    body: encoder.encode(JSON.stringify(status)),
  };
}

export type DecodedStatus =
  | { readonly kind: "status"; readonly status: DeviceStatus }
  | { readonly kind: "unusable"; readonly reason: string };

/** Reads a message's body; anybody may publish on the exchange. */
export function decodeStatus(body: Uint8Array): DecodedStatus {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(body));
  } catch (error) {
    return { kind: "unusable", reason: `The status is not JSON: ${String(error)}` };
  }
  const read = v.safeParse(DeviceStatusShape, json);
  if (read.success) return { kind: "status", status: read.output };
  const [issue] = read.issues;
  return {
    kind: "unusable",
    reason: `The status cannot be read: ${v.getDotPath(issue) ?? "body"}: ${issue.message}`,
  };
}
