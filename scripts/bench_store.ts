/**
 * How many job events a second the stores record, in batches of 1, 20 and 500: each job is accepted,
 * starts and succeeds, and its three events lie in different batches, as they do in life. Also how long
 * one batch holds the main thread with SQLite, and what reading events from messages costs.
 *
 * Usage: bun scripts/bench_store.ts [--events N] [--store sqlite|postgres]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { decodeJobEvents, encodeJobEvents, type JobEvent } from "../src/jobs/job_event.ts";
import { newId } from "../src/platform/ids.ts";
import { PostgresStore } from "../src/store/postgres/postgres_store.ts";
import { SqliteStore } from "../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../src/store/store.ts";
import { startPostgres } from "./services/postgres.ts";

const { values } = parseArgs({
  options: { events: { type: "string", default: "60000" }, store: { type: "string" } },
});
const BATCHES = [1, 20, 500];
const total = Number(values.events);

benchDecoding();
if (values.store !== "postgres") {
  const dataDir = mkdtempSync(join(tmpdir(), "cox-bench-store-"));
  await bench("sqlite", new SqliteStore({ dataDir }), 1);
  rmSync(dataDir, { recursive: true });
}
if (values.store !== "sqlite") {
  const postgres = await startPostgres();
  await bench("postgres", new PostgresStore({ url: postgres.url }), 1);
  await bench("postgres, 4 batches at once", new PostgresStore({ url: postgres.url }), 4);
  await postgres.dispose();
}

async function bench(name: string, store: Store, atOnce: number): Promise<void> {
  await store.open();
  for (const size of BATCHES) {
    const events = lives(Math.min(total, size * 2_000) / 3);
    const batches: (readonly JobEvent[])[] = [];
    for (let at = 0; at < events.length; at += size) batches.push(events.slice(at, at + size));
    const tookMs: number[] = [];
    const startedAt = performance.now();
    const record = async () => {
      for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
        const batchAt = performance.now();
        await store.recordEvents(batch);
        tookMs.push(performance.now() - batchAt);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, record));
    const rate = events.length / (performance.now() - startedAt) * 1_000;
    tookMs.sort((a, b) => a - b);
    print(
      `${name}, batches of ${size}`,
      rate,
      `median batch ${quantile(tookMs, 0.5)} ms, p99 ${quantile(tookMs, 0.99)} ms`,
    );
  }
  const listedAt = performance.now();
  await store.list({ task: "bench.task" }, 100);
  const statsAt = performance.now();
  const { byState } = await store.stats();
  console.log(
    `${name}: of ${byState.succeeded.toLocaleString("en")} jobs a page of 100 takes ` +
      `${(statsAt - listedAt).toFixed(1)} ms, stats ${(performance.now() - statsAt).toFixed(1)} ms`,
  );
  await store.close();
}

function benchDecoding(): void {
  const events = lives(10_000);
  const bodies = events.map((event) => encodeJobEvents([event]));
  const startedAt = performance.now();
  for (const body of bodies) {
    if (decodeJobEvents(body).kind !== "events") throw new Error("An event cannot be read");
  }
  print("reading events, one a message", bodies.length / (performance.now() - startedAt) * 1_000);
}

/** All are accepted, then all start, then all succeed, in stretches of 2,000 jobs. */
function lives(count: number): JobEvent[] {
  const events: JobEvent[] = [];
  for (let first = 0; first < count; first += 2_000) {
    const jobs = Array.from({ length: Math.min(2_000, count - first) }, () => {
      const now = Date.now();
      return {
        id: newId(),
        task: "bench.task",
        queue: "default",
        createdAt: now,
        attempt: 1,
        at: now,
      };
    });
    const run = { node: "worker-1", startedAt: Date.now(), redelivered: false };
    events.push(
      ...jobs.map((job): JobEvent => ({
        ...job,
        kind: "accepted",
        seq: job.at,
        request: {
          terms: { timeoutMs: 300_000 },
          payload: { input: { argsJson: "[1,2]", kwargsJson: "{}" }, headers: {} },
        },
      })),
      ...jobs.map((job): JobEvent => ({ ...job, kind: "started", seq: job.at + 1, run })),
      ...jobs.map((job): JobEvent => ({
        ...job,
        kind: "outcome",
        seq: job.at + 2,
        run,
        outcome: { kind: "succeeded", resultJson: "3" },
        settles: true,
      })),
    );
  }
  return events;
}

function quantile(sorted: readonly number[], q: number): string {
  return (sorted[Math.floor(sorted.length * q)] ?? NaN).toFixed(2);
}

function print(name: string, rate: number, more = ""): void {
  console.log(`${name.padEnd(46)} ${Math.round(rate).toLocaleString("en").padStart(9)}/s  ${more}`);
}
