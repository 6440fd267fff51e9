/**
 * Kills isolates at their limit again and again; prints what the process holds after the first hundred
 * and at the end, as JSON. In a process of its own, so that only the pool's memory counts.
 *
 * Arguments: kind of isolate, number of kills.
 */
import { readdirSync, readFileSync } from "node:fs";
import { makePool, order } from "./pools.ts";

const isolation = process.argv[2] === "process" ? "process" : "worker";
const kills = Number(process.argv[3]);

const pool = makePool({ isolates: 2 });
await pool.start();

async function killOnce(): Promise<void> {
  const end = await pool.run(order({ spin: true }, { isolation, timeoutMs: 5 }));
  if (end.kind !== "timed_out") throw new Error(`Not killed: ${JSON.stringify(end)}`);
}

interface Held {
  readonly rss: number;
  readonly threads: number;
}

/** What the process holds once the killed ones' threads have ended and their memory is given back. */
async function held(): Promise<Held> {
  await new Promise((resolve) => setTimeout(resolve, 500));
  Bun.gc(true);
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { rss: process.memoryUsage.rss(), threads: isolateThreads() };
}

/** The runtime's own threads, such as the garbage collector's, come and go. */
function isolateThreads(): number {
  const names = readdirSync("/proc/self/task").map((thread) =>
    readFileSync(`/proc/self/task/${thread}/comm`, "utf8").trim()
  );
  return names.filter((name) => name === "Worker").length;
}

for (let kill = 0; kill < 100; kill++) await killOnce();
const before = await held();
for (let kill = 100; kill < kills; kill++) await killOnce();
const after = await held();
const { freeSlots, stats } = pool;
await pool.stop();
console.log(JSON.stringify({
  rssBefore: before.rss,
  rssAfter: after.rss,
  threadsBefore: before.threads,
  threadsAfter: after.threads,
  freeSlots,
  stats,
}));
process.exit(0);
