import { describe, expect, test } from "bun:test";
import type { DeviceStatus } from "../../src/devices/device_status.ts";
import { DeviceDirectory } from "../../src/devices/directory.ts";
import {
  decodeTalk,
  type HeldRow,
  heldTalks,
  isTalk,
  talkMessage,
} from "../../src/devices/held_message.ts";
import { FakeClock } from "../support/fake_clock.ts";

const STARTED = "2026-11-21T10:00:00.000Z";

function status(change: "online" | "offline", epoch: number, node = "a"): DeviceStatus {
  return {
    device: "d",
    change,
    epoch,
    node,
    nodeStartedAt: STARTED,
    address: "10.0.0.1:5",
    at: epoch,
    connectedAt: epoch,
    lastSeenAt: epoch,
  };
}

function held(node: string, devices: HeldRow[], nodeStartedAt = STARTED) {
  return { type: "held" as const, node, nodeStartedAt, devices };
}

function scene() {
  const clock = new FakeClock();
  return { clock, directory: new DeviceDirectory(clock) };
}

describe("DeviceDirectory", () => {
  test("a late offline of an earlier connection takes nothing away", () => {
    const { directory } = scene();
    directory.heardStatus(status("online", 10));
    directory.heardStatus(status("online", 20, "b"));
    directory.heardStatus(status("offline", 10));
    expect(directory.find("d")).toMatchObject({ node: "b", epoch: 20 });
    directory.heardStatus(status("offline", 20, "b"));
    expect(directory.find("d")).toBeUndefined();
  });

  test("an online that comes twice or late changes nothing", () => {
    const { directory } = scene();
    directory.heardStatus(status("online", 20, "b"));
    directory.heardStatus(status("online", 10));
    directory.heardStatus(status("online", 20, "b"));
    expect(directory.list()).toHaveLength(1);
    expect(directory.find("d")?.node).toBe("b");
  });

  test("told of anew, it is online again, and the word that it was gone comes too late", () => {
    const { directory } = scene();
    directory.heardStatus(status("online", 10));
    directory.heardStatus({ ...status("online", 10), revision: 1 });
    directory.heardStatus({ ...status("offline", 10), reason: "node-gone" });
    expect(directory.find("d")).toBeDefined();
  });

  test("what a node holds makes good what was missed, and moves the last sign of life", () => {
    const { directory } = scene();
    directory.heardHeld(held("a", [["d", 10, 10, 15, "10.0.0.1:5"], ["10.0.0.2:6", 11, 11, 11]]));
    expect(directory.find("d")).toMatchObject({ address: "10.0.0.1:5", lastSeenAt: new Date(15) });
    expect(directory.find("10.0.0.2:6")?.address).toBe("10.0.0.2:6");
    directory.heardHeld(held("a", [["d", 10, 10, 30, "10.0.0.1:5"]]));
    expect(directory.find("d")?.lastSeenAt).toEqual(new Date(30));
    directory.heardHeld(held("b", [["d", 5, 5, 99]]));
    expect(directory.find("d")?.node).toBe("a");
  });

  test("a node that was started anew holds what it says, and nothing of before", () => {
    const { directory } = scene();
    directory.heardHeld(held("a", [["d", 10, 10, 10], ["e", 11, 11, 11]]));
    directory.heardHeld(held("a", [["e", 20, 20, 20]], "2026-11-21T11:00:00.000Z"));
    expect(directory.list().map(({ id, epoch }) => [id, epoch])).toEqual([["e", 20]]);
  });

  test("a node that is gone takes its devices with it", () => {
    const { directory } = scene();
    directory.heardHeld(held("a", [["d", 10, 10, 10]]));
    directory.heardHeld(held("b", [["e", 10, 10, 10]]));
    directory.lost("a");
    expect(directory.list().map(({ id }) => id)).toEqual(["e"]);
  });

  test("what nobody tells of is forgotten, but for when nobody could be heard", () => {
    const { clock, directory } = scene();
    directory.heardHeld(held("a", [["d", 10, 10, 10]]));
    directory.heardHeld(held("b", [["e", 10, 10, 10]]));
    clock.advance(30_000);
    directory.wasDeaf();
    clock.advance(30_000);
    directory.heardHeld(held("b", [["e", 10, 10, 10]]));
    expect(directory.forgetSilent(35_000)).toBe(0);
    clock.advance(6_000);
    expect(directory.forgetSilent(35_000)).toBe(1);
    expect(directory.list().map(({ id }) => id)).toEqual(["e"]);
  });
});

describe("what nodes say of what they hold", () => {
  test("comes back as it was, in parts; nothing is a part too", () => {
    const rows = Array.from({ length: 2_500 }, (_, index): HeldRow => [`d${index}`, index, 1, 2]);
    const talks = heldTalks("a", STARTED, rows).map((talk) => talkMessage(talk));
    expect(talks).toHaveLength(3);
    const read = talks.flatMap(({ body }) => {
      const talk = decodeTalk(body);
      return talk?.type === "held" ? talk.devices : [];
    });
    expect(read).toEqual(rows);
    expect(talks.every(isTalk)).toBe(true);
    expect(heldTalks("a", STARTED, [])).toHaveLength(1);
  });

  test("what cannot be read is passed over", () => {
    const encoder = new TextEncoder();
    const bodies = [
      new Uint8Array([0xff]),
      encoder.encode("["),
      encoder.encode('{"type":"held","node":"a"}'),
      encoder.encode(JSON.stringify(held("a", [["d", 1.5, 1, 1]]))),
    ];
    for (const body of bodies) expect(decodeTalk(body)).toBeUndefined();
  });
});
