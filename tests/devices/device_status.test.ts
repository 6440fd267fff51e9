import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { deviceOfWord, deviceWord, isDeviceId, lineChannel } from "../../src/devices/device_id.ts";
import {
  decodeStatus,
  type DeviceStatus,
  isLaterStatus,
  statusMessage,
} from "../../src/devices/device_status.ts";

const ids = fc.string({ minLength: 1, maxLength: 80 }).filter(isDeviceId);

const online: DeviceStatus = {
  device: "127.0.0.1:50312",
  change: "online",
  epoch: 1_000,
  node: "a",
  nodeStartedAt: "2026-11-21T10:00:00.000Z",
  address: "127.0.0.1:50312",
  at: 1_000,
  connectedAt: 1_000,
  lastSeenAt: 1_000,
};

describe("deviceWord()", () => {
  test("makes one word of any id, which can be read back and fits a routing key", () => {
    fc.assert(fc.property(ids, (id) => {
      const word = deviceWord(id);
      expect(word).not.toMatch(/[.*#\s]/);
      expect(deviceOfWord(word)).toBe(id);
      expect(lineChannel(id).length).toBeLessThanOrEqual(255);
    }));
  });

  test("says what stands for an address", () => {
    expect(lineChannel("127.0.0.1:50312")).toBe("device.127%2E0%2E0%2E1%3A50312.line");
    expect(lineChannel("kiln-7")).toBe("device.kiln-7.line");
  });

  test("reads no id from what is none", () => {
    for (const word of ["", "%", "%0A", "a%20b", "%C3%A4", "x".repeat(81)]) {
      expect(deviceOfWord(word)).toBeUndefined();
    }
  });
});

describe("statusMessage()", () => {
  test("comes back as it was", () => {
    const offline: DeviceStatus = { ...online, change: "offline", reason: "replaced" };
    const again: DeviceStatus = { ...online, revision: 1, at: 9_000 };
    for (const status of [online, offline, again]) {
      const message = statusMessage(status);
      expect(message.routingKey).toBe(`${status.change}.127%2E0%2E0%2E1%3A50312`);
      expect(message.properties.persistent).toBe(true);
      expect(decodeStatus(message.body)).toEqual({ kind: "status", status });
    }
  });

  test("what is no status is unusable, with a reason", () => {
    const encoder = new TextEncoder();
    const bodies = [
      new Uint8Array([0xff]),
      encoder.encode("{"),
      encoder.encode("[]"),
      encoder.encode(JSON.stringify({ ...online, device: "a b" })),
      encoder.encode(JSON.stringify({ ...online, change: "away" })),
      encoder.encode(JSON.stringify({ ...online, node: "a\0" })),
      encoder.encode(JSON.stringify({ ...online, epoch: 1.5 })),
    ];
    for (const body of bodies) expect(decodeStatus(body).kind).toBe("unusable");
  });
});

describe("isLaterStatus()", () => {
  test("a late offline undoes no online of a later connection", () => {
    const moved: DeviceStatus = { ...online, epoch: 1_001, node: "b" };
    const lateOffline: DeviceStatus = { ...online, change: "offline" };
    expect(isLaterStatus(lateOffline, online)).toBe(true);
    expect(isLaterStatus(moved, online)).toBe(true);
    expect(isLaterStatus(lateOffline, moved)).toBe(false);
    expect(isLaterStatus(moved, lateOffline)).toBe(true);
  });

  test("a connection whose node was taken for gone is online again when it says so", () => {
    const takenForGone: DeviceStatus = { ...online, change: "offline", reason: "node-gone" };
    const again: DeviceStatus = { ...online, revision: 1 };
    expect(isLaterStatus(again, takenForGone)).toBe(true);
    expect(isLaterStatus(takenForGone, again)).toBe(false);
    expect(isLaterStatus({ ...again, change: "offline" }, again)).toBe(true);
    expect(isLaterStatus({ ...online, epoch: 1_001 }, again)).toBe(true);
  });

  test("orders all statuses strictly, so that every reader ends with the same one", () => {
    const statuses = fc.record({
      epoch: fc.integer({ min: 0, max: 3 }),
      node: fc.constantFrom("a", "b"),
      revision: fc.integer({ min: 0, max: 1 }),
      change: fc.constantFrom("online" as const, "offline" as const),
    });
    fc.assert(fc.property(statuses, statuses, (one, other) => {
      const isSame = JSON.stringify(one) === JSON.stringify(other);
      expect(isLaterStatus(one, other) !== isLaterStatus(other, one)).toBe(!isSame);
    }));
  });
});
