/** What nodes of tests say of devices: where they connect, who is there and who was. */
import { type App, until } from "./app.ts";

/** Where a node's devices connect, as its log says. */
export function devicePort({ log }: App): number {
  const port = /tcp:\/\/[^\s"]*:(\d+)/.exec(log)?.[1];
  if (port === undefined) throw new Error(`No port for devices in the log:\n${log}`);
  return Number(port);
}

/** A device as `GET /devices` shows it. */
export interface ShownDevice {
  readonly id: string;
  readonly state?: "online" | "offline";
  readonly node: string;
  readonly address: string;
  readonly connectedAt: string;
  readonly lastSeenAt: string;
  readonly reason?: string;
  readonly history?: readonly { readonly state: string; readonly reason?: string }[];
}

/** Undefined: no front knows it. */
export async function shownDevice(front: App, id: string): Promise<ShownDevice | undefined> {
  const response = await fetch(`${front.url}/devices/${id}`);
  return response.ok ? await response.json() : undefined;
}

export async function listedDevices(front: App, query = ""): Promise<readonly ShownDevice[]> {
  const response = await fetch(`${front.url}/devices${query}`);
  return response.ok ? await response.json() : [];
}

/** Waits until all of these are so in the records of a front, whatever it knows of connections. */
export async function recorded(
  front: App,
  ids: readonly string[],
  state: "online" | "offline",
): Promise<void> {
  await until(async () => {
    const listed = await listedDevices(front, "?state=all&limit=1000");
    const known = new Set(listed.flatMap((device) => device.state === state ? device.id : []));
    return ids.every((id) => known.has(id));
  }, `devices to be recorded ${state}`);
}
