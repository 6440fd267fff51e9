/** The beacon's JSON: what is read, and what is not. */
import { expect, test } from "bun:test";
import { type Beacon, decodeBeacon, encodeBeacon } from "../../src/heartbeat/beacon.ts";

const BEACON: Beacon = {
  node: "n",
  role: "work",
  version: "1.2.3",
  startedAt: "2030-01-01T00:00:00.000Z",
  uptimeMs: 60_000,
  intervalMs: 2_000,
  count: 60,
  load: {
    running: 1,
    waiting: 2,
    isolates: 3,
    stuckIsolates: 0,
    consumers: [
      { queue: "tasks", isLive: true },
      { queue: "mail", isLive: false, exchange: "in", keys: ["a.#"], deliveredPerSecond: 0.25 },
    ],
    memoryBytes: 1_000_000,
    pendingCalls: 4,
  },
  tasks: ["a", "b"],
};

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test("a beacon comes back as it was sent", () => {
  expect(decodeBeacon(encodeBeacon(BEACON))).toEqual(BEACON);
});

test("members that we do not know are passed over", () => {
  const load = { ...BEACON.load, later: 1 };
  expect(decodeBeacon(bytes({ ...BEACON, load, later: { a: 1 } }))).toEqual(BEACON);
});

test("what is no beacon is undefined, whatever it is", () => {
  const { node: _, ...nameless } = BEACON;
  const wrong = [
    nameless,
    { ...BEACON, node: "" },
    { ...BEACON, node: "x".repeat(256) },
    { ...BEACON, count: -1 },
    { ...BEACON, intervalMs: "2s" },
    { ...BEACON, startedAt: "yesterday" },
    { ...BEACON, load: { ...BEACON.load, memoryBytes: 0.5 } },
    { ...BEACON, tasks: [1] },
    { ...BEACON, tasks: ["x".repeat(2 ** 20)] },
    null,
    7,
    [],
  ];
  for (const one of wrong) expect(decodeBeacon(bytes(one))).toBeUndefined();
  expect(decodeBeacon(new TextEncoder().encode("{not json"))).toBeUndefined();
  expect(decodeBeacon(new Uint8Array([0xff, 0xfe]))).toBeUndefined();
});
