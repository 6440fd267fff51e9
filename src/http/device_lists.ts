/**
 * What HTTP tells of devices, from two sources: who is connected now, from the list that every front
 * keeps, and what became of devices, from the store. A front without a store knows the first alone.
 */
import * as v from "valibot";
import { NO_STORE } from "../jobs/job_lookup.ts";
import type { DeviceStatus } from "../devices/device_status.ts";
import type { DeviceList, LiveDevice } from "../devices/devices.ts";
import { afterDevice, encodePlace } from "../store/device_row.ts";
import type { DeviceStore } from "../store/device_store.ts";
import { storeProblemOf } from "./acceptance_problem.ts";
import type { Read } from "./body.ts";
import { PAGE_ENTRIES, pageProblem, pageResponse, readOptions } from "./pages.ts";
import type { Problem } from "./problems.ts";

const STATES = ["online", "offline", "all"] as const;

const ListQuery = v.object({
  state: v.exactOptional(v.picklist(STATES, `expected one of ${STATES.join(", ")}`)),
  ...PAGE_ENTRIES,
});

const HistoryQuery = v.object(PAGE_ENTRIES);

type ListOptions = v.InferOutput<typeof ListQuery>;
export type HistoryOptions = v.InferOutput<typeof HistoryQuery>;

export function readListQuery(url: string): Read<ListOptions> {
  return readOptions(ListQuery, url, Object.keys(ListQuery.entries));
}

export function readHistoryQuery(url: string): Read<HistoryOptions> {
  return readOptions(HistoryQuery, url, Object.keys(HistoryQuery.entries));
}

export interface DeviceSources {
  readonly devices: DeviceList;
  /** Absent: this node keeps no records. */
  readonly store?: Pick<DeviceStore, "device" | "devices" | "deviceHistory">;
}

/** A page of `GET /devices`. */
export async function listDevices(
  { devices, store }: DeviceSources,
  query: ListOptions,
): Promise<Read<Response>> {
  const { state = "online", limit, cursor } = query;
  try {
    if (state === "online") {
      const after = cursor === undefined ? "" : afterDevice(cursor);
      const found = devices.list().filter(({ id }) => id > after).slice(0, limit + 1);
      const page = found.slice(0, limit);
      const last = page.at(-1);
      const next = found.length > limit && last !== undefined ? encodePlace([last.id]) : undefined;
      return { value: page200(page.map(connected), "/devices", query, next) };
    }
    if (store === undefined) return { problem: NO_RECORDS };
    const page = await store.devices(state === "all" ? undefined : state, limit, cursor);
    const shown = page.statuses.map((status) => known(status, devices.find(status.device)));
    return { value: page200(shown, "/devices", query, page.cursor) };
  } catch (error) {
    return { problem: pageProblem(error) };
  }
}

/** A page of `GET /devices/{id}/history`. */
export async function listHistory(
  { store }: DeviceSources,
  id: string,
  query: HistoryOptions,
): Promise<Read<Response>> {
  if (store === undefined) return { problem: NO_RECORDS };
  try {
    const page = await store.deviceHistory(id, query.limit, query.cursor);
    const path = `/devices/${encodeURIComponent(id)}/history`;
    return { value: page200(page.statuses.map(change), path, query, page.cursor) };
  } catch (error) {
    return { problem: pageProblem(error) };
  }
}

/** So many changes stand beside a device; its history has the others. */
const SHOWN_CHANGES = 20;

/** `GET /devices/{id}`; undefined: nobody has ever seen it. */
export async function showDevice(
  { devices, store }: DeviceSources,
  id: string,
): Promise<Read<object | undefined>> {
  const live = devices.find(id);
  if (store === undefined) return { value: live && { state: "online", ...connected(live) } };
  try {
    const status = await store.device(id);
    const { statuses } = await store.deviceHistory(id, SHOWN_CHANGES);
    const history = statuses.map(change);
    // Its online may still be on its way to the store.
    const isYounger = live !== undefined && (status === undefined || live.epoch > status.epoch);
    if (isYounger) return { value: { state: "online", ...connected(live), history } };
    return { value: status && { ...known(status, live), history } };
  } catch (error) {
    const problem = pageProblem(error);
    // Without the store it is known as long as it is connected.
    return live === undefined ? { problem } : { value: { state: "online", ...connected(live) } };
  }
}

/** What is asked of records where there are none. */
const NO_RECORDS: Problem = {
  ...storeProblemOf(NO_STORE),
  detail:
    "This node keeps no records (--no-recorder) and knows the devices that are online alone: " +
    "ask a front that keeps them",
};

function page200(
  elements: readonly object[],
  path: string,
  { state, limit }: { readonly state?: string; readonly limit: number },
  cursor: string | undefined,
): Response {
  const next = cursor === undefined ? undefined : new URLSearchParams({
    ...(state === undefined ? {} : { state }),
    limit: `${limit}`,
    cursor,
  });
  return pageResponse(JSON.stringify(elements), path, next);
}

function connected({ id, address, node, connectedAt, lastSeenAt }: LiveDevice): object {
  return { id, address, node, connectedAt, lastSeenAt };
}

/** A device as it was recorded; of the connection that is there now the time is better known. */
function known(status: DeviceStatus, live: LiveDevice | undefined): object {
  const isLive = status.change === "online" && live?.epoch === status.epoch;
  return {
    id: status.device,
    state: status.change,
    address: status.address,
    node: status.node,
    connectedAt: instant(status.connectedAt),
    lastSeenAt: isLive ? live.lastSeenAt : instant(status.lastSeenAt),
    changedAt: instant(status.at),
    reason: status.reason,
  };
}

function change(status: DeviceStatus): object {
  return {
    state: status.change,
    at: instant(status.at),
    address: status.address,
    node: status.node,
    connectedAt: instant(status.connectedAt),
    lastSeenAt: instant(status.lastSeenAt),
    reason: status.reason,
  };
}

function instant(at: number): string {
  return new Date(at).toISOString();
}
