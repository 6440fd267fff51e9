/** Errors that nobody catches, in both kinds of isolate; prints what became of each attempt as JSON. */
import type { Isolation } from "../../src/tasks/descriptor.ts";
import { makePool, order } from "./pools.ts";

async function seenIn(isolation: Isolation): Promise<Record<string, unknown>> {
  const errors: string[] = [];
  const pool = makePool({
    slots: 2,
    onLog: ({ level, message }) => {
      if (level === "error") errors.push(message);
    },
  });
  await pool.start();
  const neighbour = pool.run(order({ sleep: 100 }, { isolation }));
  const inTimer = await pool.run(order({ throwInTimer: "boo" }, { isolation }));
  const neighbourOfTimer = await neighbour;
  const inMicrotask = await pool.run(order({ throwInMicrotask: "boo" }, { isolation }));
  await pool.run(order({ count: true }, { isolation }));
  const after = pool.run(order({ sleep: 200 }, { isolation }));
  const leftBehind = await pool.run(order({ leaveThrowingTimer: 50 }, { isolation }));
  const afterLeftBehind = await after;
  const countAfterLeftBehind = await pool.run(order({ count: true }, { isolation }));
  const rejection = await pool.run(order({ rejectUnhandled: "boo" }, { isolation }));
  await pool.stop();
  return {
    inTimer,
    neighbourOfTimer,
    inMicrotask,
    leftBehind,
    afterLeftBehind,
    countAfterLeftBehind,
    rejection,
    errors,
  };
}

console.log(JSON.stringify({ worker: await seenIn("worker"), process: await seenIn("process") }));
process.exit(0);
