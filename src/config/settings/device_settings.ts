/** Settings of the gateway: where devices connect, who may, and their bounds. */
import type { Setting } from "../setting.ts";
import { duration, port, size, wholeNumber, wordOr } from "../value.ts";
import { file, FRONTS, host, one } from "./rows.ts";

const MAX_CONNECTIONS = 1_000_000;

export const DEVICE_SETTINGS = {
  deviceHost: one({
    group: "Devices",
    modes: FRONTS,
    reader: host,
    fallback: "127.0.0.1",
    help:
      "address on which devices connect; another than loopback needs --device-auth or --insecure",
  }),
  devicePort: one({
    group: "Devices",
    modes: FRONTS,
    reader: wordOr("off", port({ min: 0 })),
    defaultText: "8123 where it is free",
    help: "port on which devices connect; 0 is any free one, printed at the start",
  }),
  deviceAuth: one({
    group: "Devices",
    modes: FRONTS,
    reader: file,
    isPath: true,
    refusesBlank: true,
    help:
      'file of lines "id token" ("* token" for all other ids): the first line of a device must ' +
      "be one of them",
  }),
  deviceTlsCert: one({
    group: "Devices",
    modes: FRONTS,
    reader: file,
    isPath: true,
    refusesBlank: true,
    help: "file of the certificate (PEM) for TLS on the device port",
  }),
  deviceTlsKey: one({
    group: "Devices",
    modes: FRONTS,
    reader: file,
    isPath: true,
    refusesBlank: true,
    help: "file of its key (PEM)",
  }),
  deviceMaxLine: one({
    group: "Devices",
    modes: FRONTS,
    reader: size({ minBytes: 16, maxBytes: 2 ** 20 }),
    fallback: 4 * 2 ** 10,
    defaultText: "4KiB",
    help: "longest line, from a device and to one; a device that sends a longer one is cut",
  }),
  deviceConnections: one({
    group: "Devices",
    modes: FRONTS,
    reader: wholeNumber({ min: 1, max: MAX_CONNECTIONS }),
    fallback: 20_000,
    help: "most connections of devices at once",
  }),
  deviceConnectionsPerAddress: one({
    group: "Devices",
    modes: FRONTS,
    reader: wholeNumber({ min: 1, max: MAX_CONNECTIONS }),
    defaultText: "as many as in all",
    help: "most connections from one remote address",
  }),
  deviceIdle: one({
    group: "Devices",
    modes: FRONTS,
    reader: duration(),
    fallback: 15 * 60_000,
    defaultText: "15m",
    help: "a device of which nothing came for so long is cut; 0 is never",
  }),
} as const satisfies Readonly<Record<string, Setting>>;
