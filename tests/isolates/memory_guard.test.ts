/** When a guard asks, waits, replaces and kills: with a process whose memory is made up. */
import { describe, expect, test } from "bun:test";
import {
  type Guarded,
  type Holder,
  type MemoryExcess,
  MemoryGuard,
} from "../../src/isolates/memory_guard.ts";
import { largestHolder, type MemoryFacts } from "../../src/isolates/memory_shares.ts";

const LIMIT = 1_000;

class FakeHolder implements Holder {
  memory = { heapBytes: 10 };
  readonly firstMemory = { heapBytes: 10 };
  isEnding = false;
  isRetired = false;
  faults = 0;
  /** Its code never comes back to its event loop. */
  isDeaf = false;
  asked = 0;
  onAsked = () => {};

  constructor(readonly name: string) {}

  measure(): void {
    this.asked += 1;
    this.onAsked();
  }
}

class FakeProcess implements Guarded<FakeHolder> {
  readonly restBytes = 100;
  used = 200;
  main = 0;
  readonly told: string[] = [];
  readonly isolates = [new FakeHolder("a"), new FakeHolder("b")];
  readonly guard = new MemoryGuard<FakeHolder>(LIMIT, this);
  now = 0;
  excess: MemoryExcess | undefined;

  constructor() {
    for (const holder of this.isolates) {
      holder.onAsked = () => {
        if (!holder.isDeaf) queueMicrotask(() => this.guard.answered(holder));
      };
    }
  }

  usedBytes = () => this.used;
  mainBytes = () => this.main;
  mainFaults = () => 0;
  holders = () => this.isolates;
  faultsOf = (holder: FakeHolder) => holder.faults;
  collect = () => {};
  kill = (holder: FakeHolder, excess: MemoryExcess) => {
    this.excess = excess;
    this.told.push(`killed ${holder.name}`);
    holder.isEnding = true;
  };
  replace = (holder: FakeHolder) => {
    this.told.push(`replaced ${holder.name}`);
    holder.isRetired = true;
  };
  tellHelpless = (largest: { readonly kind: string }) => {
    this.told.push(`helpless: ${largest.kind}`);
  };

  of(index: 0 | 1): FakeHolder {
    const holder = this.isolates[index];
    if (holder === undefined) throw new Error("There are two");
    return holder;
  }

  /** Lets so much time pass, looking as often as the guard wants to. */
  async pass(durationMs: number): Promise<void> {
    const end = this.now + durationMs;
    while (this.now <= end) {
      this.now += this.guard.look(this.now);
      await Promise.resolve();
    }
  }
}

describe("a memory guard", () => {
  test("asks nobody anything while there is memory enough", async () => {
    const fake = new FakeProcess();
    fake.used = 0.75 * LIMIT;
    await fake.pass(10_000);
    expect(fake.isolates.map(({ asked }) => asked)).toEqual([0, 0]);
  });

  test("past the limit kills who holds most, and tells how much", async () => {
    const fake = new FakeProcess();
    fake.of(1).memory = { heapBytes: 700 };
    fake.used = 1_100;
    await fake.pass(400);
    expect(fake.told).toEqual(["killed b"]);
    expect(fake.excess).toMatchObject({ limitBytes: LIMIT, usedBytes: 1_100 });
  });

  test("kills nobody when collecting garbage was enough", async () => {
    const fake = new FakeProcess();
    fake.used = 1_100;
    fake.of(0).onAsked = () => fake.used = 500;
    await fake.pass(5_000);
    expect(fake.told).toEqual([]);
    expect(fake.of(0).asked).toBe(1);
  });

  test("kills soon who grows fast and does not answer, and not who only spins", async () => {
    const fake = new FakeProcess();
    await fake.pass(1_000);
    for (const holder of fake.isolates) holder.isDeaf = true;
    fake.of(0).faults = 10;
    fake.of(1).faults = 9_000;
    fake.used = 1_010;
    await fake.pass(0);
    fake.used = 1_100;
    await fake.pass(80);
    expect(fake.told).toEqual(["killed b"]);
  });

  test("kills nobody else while the memory of a killed one comes back", async () => {
    const fake = new FakeProcess();
    fake.of(0).memory = { heapBytes: 100 };
    fake.of(1).memory = { heapBytes: 700 };
    fake.used = 1_100;
    await fake.pass(1_200);
    expect(fake.told).toEqual(["killed b"]);
  });

  test("kills another when memory is taken on and on", async () => {
    const fake = new FakeProcess();
    fake.of(0).memory = { heapBytes: 690 };
    fake.of(1).memory = { heapBytes: 700 };
    fake.used = 1_500;
    await fake.pass(300);
    fake.isolates.splice(1, 1);
    fake.used = 1_900;
    await fake.pass(300);
    expect(fake.told).toEqual(["killed b", "killed a"]);
  });

  test("kills nobody else while native code holds one that was killed", async () => {
    const fake = new FakeProcess();
    fake.of(1).memory = { heapBytes: 900 };
    fake.of(1).isEnding = true;
    fake.used = 1_100;
    await fake.pass(10_000);
    expect(fake.told).toEqual([]);
  });

  test("says once that nobody is to be killed, and again when it was over in between", async () => {
    const fake = new FakeProcess();
    fake.main = 900;
    fake.used = 1_100;
    await fake.pass(10_000);
    expect(fake.told).toEqual(["helpless: main"]);
    fake.used = 300;
    await fake.pass(100);
    fake.used = 1_100;
    await fake.pass(1_000);
    expect(fake.told).toEqual(["helpless: main", "helpless: main"]);
  });

  test("short of the limit replaces who has grown, once", async () => {
    const fake = new FakeProcess();
    fake.of(0).memory = { heapBytes: 500 };
    fake.used = 800;
    await fake.pass(5_000);
    expect(fake.told).toEqual(["replaced a"]);
  });

  test("short of the limit leaves alone who has always held much", async () => {
    const fake = new FakeProcess();
    fake.used = 800;
    await fake.pass(10_000);
    expect(fake.told).toEqual([]);
    expect(fake.of(0).asked).toBeLessThanOrEqual(6);
  });
});

describe("largestHolder()", () => {
  const one = (holder: string, reportedBytes: number, faults = 0, isSilent = false) => ({
    holder,
    reportedBytes,
    faults,
    isSilent,
  });
  const largest = (
    holders: ReturnType<typeof one>[],
    facts: Partial<MemoryFacts<string>> = {},
  ) =>
    largestHolder({
      usedBytes: 1_000,
      restBytes: 100,
      mainBytes: 0,
      mainFaults: 0,
      ...facts,
      holders,
    }, 50);

  test("believes reports where they explain what is held", () => {
    expect(largest([one("a", 500, 0), one("b", 300, 99)])).toMatchObject({ holder: "a" });
  });

  test("lays the rest at the door of the silent, by the pages that they took", () => {
    expect(largest([one("a", 300), one("b", 10, 5, true), one("c", 10, 95, true)]))
      .toEqual({ kind: "isolate", holder: "c", heldBytes: 10 + Math.round(580 * 0.95) });
    expect(largest([one("a", 300), one("b", 10, 0, true)])).toMatchObject({ holder: "b" });
  });

  test("finds who holds what no JavaScript reports", () => {
    expect(largest([one("a", 100, 10), one("b", 10, 900)], { mainFaults: 90 }))
      .toMatchObject({ holder: "b" });
    expect(largest([one("a", 100, 10), one("b", 10, 90)], { mainFaults: 900 }))
      .toMatchObject({ kind: "main" });
  });

  test("accuses nobody at random", () => {
    expect(largest([one("a", 100), one("b", 10)])).toEqual({ kind: "nobody" });
    expect(largest([])).toEqual({ kind: "nobody" });
    expect(largest([one("a", 40)], { usedBytes: 140 })).toEqual({ kind: "nobody" });
    expect(largest([one("a", 300)], { mainBytes: 600 })).toMatchObject({ kind: "main" });
  });
});
