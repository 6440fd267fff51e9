/** The roster in fake time: who is alive, late, gone, left and back, and when. */
import { describe, expect, test } from "bun:test";
import type { Beacon } from "../../src/heartbeat/beacon.ts";
import { Roster, type RosterEvent } from "../../src/nodes/roster.ts";
import { FakeClock } from "../support/fake_clock.ts";

const INTERVAL_MS = 2_000;

function beacon(node: string, changes: Partial<Beacon> = {}): Beacon {
  return {
    node,
    role: "work",
    version: "1.0.0",
    count: 1,
    startedAt: "2030-01-01T00:00:00.000Z",
    uptimeMs: 0,
    intervalMs: INTERVAL_MS,
    load: {
      running: 1,
      waiting: 0,
      isolates: 2,
      stuckIsolates: 0,
      consumers: [{ queue: "q", isLive: true }],
      memoryBytes: 1_000,
    },
    tasks: ["t"],
    ...changes,
  };
}

function scene() {
  const clock = new FakeClock();
  const roster = new Roster(clock);
  const told: string[] = [];
  const tell = (events: readonly RosterEvent[]) => {
    for (const { kind, node } of events) {
      told.push(`${kind} ${node.id} ${clock.monotonic()}`);
    }
  };
  return {
    clock,
    roster,
    told,
    hear: (node: string, changes?: Partial<Beacon>) =>
      tell(roster.heardBeacon(beacon(node, changes))),
    leaves: (node: string) => tell(roster.heardLeaving(node)),
    /** Lets time pass, looking every 100 ms. */
    pass(ms: number, each: () => void = () => undefined) {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100);
        each();
        tell(roster.check());
      }
    },
    state: (node: string) => roster.find(node)?.state,
  };
}

describe("roster", () => {
  test("lists what beacons told, sorted by id", () => {
    const { clock, roster, hear } = scene();
    hear("b", { role: "serve", tasks: [] });
    clock.advance(500);
    hear("a");
    const { node: id, uptimeMs: _, ...rest } = beacon("a");
    expect(roster.list().map((node) => node.id)).toEqual(["a", "b"]);
    expect(roster.find("a")).toEqual({
      kind: "coxswain",
      id,
      ...rest,
      state: "alive",
      lastBeaconAt: "2030-01-01T00:00:00.500Z",
    });
  });

  test("says late after 2 missing beacons, gone after 4, and back when one comes", () => {
    const { told, hear, pass, state } = scene();
    hear("a");
    pass(2.4 * INTERVAL_MS);
    expect(state("a")).toBe("alive");
    pass(0.2 * INTERVAL_MS);
    expect(state("a")).toBe("late");
    hear("a");
    expect(state("a")).toBe("alive");
    pass(10 * INTERVAL_MS);
    expect(state("a")).toBe("gone");
    hear("a", { count: 99 });
    pass(INTERVAL_MS);
    expect(told).toEqual([
      "joined a 0",
      "late a 5000",
      "back a 5200",
      "late a 10200",
      "gone a 14200",
      "back a 25200",
    ]);
  });

  test("measures each node by its own interval", () => {
    const { told, hear, pass } = scene();
    hear("often", { intervalMs: 1_000 });
    hear("seldom", { intervalMs: 60_000 });
    pass(160_000);
    expect(told).toEqual([
      "joined often 0",
      "joined seldom 0",
      "late often 2500",
      "gone often 4500",
      "late seldom 150000",
    ]);
  });

  test("a stranger cannot make it look more often than each second", () => {
    const { hear, pass, state } = scene();
    hear("a", { intervalMs: 1 });
    pass(2_000);
    expect(state("a")).toBe("alive");
  });

  test("who leaves has left at once, and a late beacon of the same start changes nothing", () => {
    const { told, hear, leaves, state } = scene();
    hear("a");
    leaves("a");
    leaves("a");
    leaves("stranger");
    hear("a");
    expect(state("a")).toBe("left");
    hear("a", { startedAt: "2030-01-01T00:00:09.000Z" });
    expect(state("a")).toBe("alive");
    expect(told).toEqual(["joined a 0", "left a 0", "joined a 0"]);
  });

  test("a name with another start is a new node: nothing of the old one stays", () => {
    const { told, roster, hear, pass } = scene();
    hear("a");
    pass(4.5 * INTERVAL_MS);
    roster.heardIntroduction(beacon("a", { startedAt: "2030-01-01T00:00:09.000Z" }));
    expect(roster.find("a")).toEqual({
      kind: "coxswain",
      id: "a",
      role: "work",
      version: "1.0.0",
      state: "alive",
      startedAt: "2030-01-01T00:00:09.000Z",
      intervalMs: INTERVAL_MS,
    });
    expect(told.at(-1)).toBe("gone a 9000");
  });

  test("a node without beacons is unknown, never late, and leaves by its own word", () => {
    const { told, roster, hear, leaves, pass, state } = scene();
    roster.heardIntroduction(beacon("quiet", { intervalMs: 0 }));
    pass(100 * INTERVAL_MS);
    expect(state("quiet")).toBe("unknown");
    hear("quiet", { intervalMs: 0 });
    expect(state("quiet")).toBe("unknown");
    expect(roster.find("quiet")?.load?.running).toBe(1);
    leaves("quiet");
    expect([told, state("quiet")]).toEqual([["left quiet 200000"], "left"]);
  });

  test("an introduction is a sign of life, and keeps what beacons told", () => {
    const { roster, hear, pass, state } = scene();
    hear("a");
    pass(2 * INTERVAL_MS);
    roster.heardIntroduction(beacon("a"));
    pass(2 * INTERVAL_MS);
    expect(state("a")).toBe("alive");
    expect(roster.find("a")?.tasks).toEqual(["t"]);
  });

  test("who ran before we listened was found, and did not join", () => {
    const { told, hear, pass } = scene();
    hear("old", { uptimeMs: 5 });
    pass(10_000);
    hear("new", { uptimeMs: 300 });
    expect(told).toEqual(["found old 0", "late old 5000", "gone old 9000", "joined new 10000"]);
  });

  test("while we could not hear nobody becomes late", () => {
    const { clock, roster, told, hear, pass, state } = scene();
    hear("a");
    pass(INTERVAL_MS);
    clock.advance(60_000);
    roster.wasDeaf(60_000);
    pass(INTERVAL_MS);
    expect(state("a")).toBe("alive");
    pass(INTERVAL_MS);
    expect(told.at(-1)).toBe("late a 65000");
  });

  test("forgets who left after 10 minutes, and who is gone after an hour", () => {
    const { roster, hear, leaves, pass } = scene();
    hear("gone");
    hear("left");
    leaves("left");
    pass(9 * 60_000);
    expect(roster.list().length).toBe(2);
    pass(2 * 60_000);
    expect(roster.list().map(({ id }) => id)).toEqual(["gone"]);
    pass(50 * 60_000);
    expect(roster.list()).toEqual([]);
  });

  test("is bounded: who is no more makes room, and beyond that nobody is taken", () => {
    const { roster, hear, leaves } = scene();
    for (let number = 0; number < 10_000; number++) hear(`n${number}`);
    hear("one too many");
    expect(roster.find("one too many")).toBeUndefined();
    leaves("n5");
    hear("room");
    expect(roster.find("room")?.state).toBe("alive");
    expect(roster.find("n5")).toBeUndefined();
    expect(roster.list().length).toBe(10_000);
  });
});
