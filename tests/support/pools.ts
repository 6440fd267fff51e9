/** Real pools for tests, with the obedient task, and requests to it. */
import { fileURLToPath } from "node:url";
import type { AttemptRequest } from "../../src/isolates/attempt.ts";
import { createPool, type Pool, type PoolOptions } from "../../src/isolates/pool.ts";
import { newId } from "../../src/platform/ids.ts";
import type { Order } from "./tasks/obedient.ts";

export const ENTRY_URL = new URL("../../src/isolates/entry.ts", import.meta.url);
export const SELF_COMMAND = [
  process.execPath,
  fileURLToPath(new URL("./isolate_main.ts", import.meta.url).href),
] as const;
export const OBEDIENT_TASKS = fileURLToPath(new URL("./tasks/obedient.ts", import.meta.url).href);

/** A pool that has not been started, with one isolate and the obedient task. */
export function makePool(options: Partial<PoolOptions> = {}): Pool {
  return createPool({
    entryUrl: ENTRY_URL,
    selfCommand: SELF_COMMAND,
    taskPaths: [OBEDIENT_TASKS],
    demo: false,
    isolates: 1,
    nodeId: "test-node",
    ...options,
  });
}

/** Runs a test with a started pool, and stops it whatever happens. */
export async function withPool(
  options: Partial<PoolOptions>,
  use: (pool: Pool) => Promise<void>,
): Promise<void> {
  const pool = makePool(options);
  try {
    await pool.start();
    await use(pool);
  } finally {
    await pool.stop(AbortSignal.abort());
  }
}

/** A request to a task with positional arguments. */
export function request(
  task: string,
  args: readonly unknown[],
  options: Partial<AttemptRequest> = {},
): AttemptRequest {
  return {
    id: newId(),
    task,
    body: JSON.stringify([args, {}, { callbacks: null, errbacks: null, chain: null, chord: null }]),
    attempt: 1,
    redelivered: false,
    timeoutMs: 60_000,
    isolation: "worker",
    headers: {},
    ...options,
  };
}

/** An order to the obedient task, in a Web Worker or in a process. */
export function order(order: Order, options: Partial<AttemptRequest> = {}): AttemptRequest {
  const task = options.isolation === "process" ? "obedient.process" : "obedient";
  return request(task, [order], options);
}
