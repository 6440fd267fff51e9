/**
 * The obedient test task: it does as it is told by its argument, in a Web Worker ("obedient") or in a
 * process ("obedient.process"). For everyone's tests.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import {
  context,
  enqueue,
  type JobOptions,
  Reject,
  Retry,
  setup,
  task,
  type TaskOptions,
} from "coxswain";

/** What it can be told, one property at a time. */
export type Order =
  /** Returns the value as it is. */
  | { readonly return: unknown }
  /** Throws an error whose class has the name `type` (default "ValueError"). */
  | { readonly throw: string; readonly type?: string }
  /** Throws the value itself, which is no Error. */
  | { readonly throwValue: unknown }
  /** Throws an error with a cause. */
  | { readonly throwWithCause: string }
  /** Throws an error with a message of so many characters. */
  | { readonly throwHuge: number }
  | { readonly retry: `${number}${"ms" | "s"}` | null }
  | { readonly reject: string }
  /** Waits for ever; the loop stays free. */
  | { readonly hang: true }
  /** Waits for ever, and ignores `context.signal`'s wish to end. */
  | { readonly spin: true }
  /** Microtasks without end. */
  | { readonly storm: true }
  /** Blocks so many milliseconds in `Atomics.wait`. */
  | { readonly wait: number }
  /** Blocks so many milliseconds in native code, which `terminate()` cannot end. */
  | { readonly block: number }
  /** Sleeps so many milliseconds with the loop free, deaf to `context.signal`. */
  | { readonly sleep: number }
  /** Sleeps so many milliseconds, and ends early as `context.signal` says. */
  | { readonly sleepUnlessAborted: number }
  /** Waits for `context.signal`, then returns its reason's name. */
  | { readonly untilAborted: true }
  /** Waits for `context.signal`, and then goes on for ever. */
  | { readonly deaf: true }
  /** Allocates so many MiB and returns their number. */
  | { readonly allocate: number }
  /** Takes memory as fast as it can, and never ends. */
  | { readonly hoard: Hoard }
  /** Takes so many MiB every few milliseconds, and never ends; the loop is free in between. */
  | { readonly hoardPolitely: number }
  /** Keeps so many MiB for the life of its isolate, and returns at once. */
  | { readonly leak: number }
  /** Takes so many MiB and lets go of each at once. */
  | { readonly litter: number }
  /** `process.exit` with this code. */
  | { readonly exit: number }
  /** SIGKILL to the process that it runs in. Only for "obedient.process". */
  | { readonly kill: true }
  /** Starts `sleep SECONDS` and waits for it without the loop. */
  | { readonly spawnSleep: number }
  /** Throws in a timer and waits for ever. */
  | { readonly throwInTimer: string }
  /** Throws in a microtask and waits for ever. */
  | { readonly throwInMicrotask: string }
  /** Leaves a timer that throws after so many milliseconds, and returns at once. */
  | { readonly leaveThrowingTimer: number }
  /** Leaves a rejected promise that nobody handles, and returns a little later. */
  | { readonly rejectUnhandled: string }
  /** Counts the calls of its isolate in `context.settings`. */
  | { readonly count: true }
  /** Sets these headers and returns the request's. */
  | { readonly headers: Readonly<Record<string, unknown>> }
  | { readonly returnBigInt: true }
  | { readonly returnCycle: true }
  | { readonly returnFunction: true }
  | { readonly returnNothing: true }
  /** Returns a text of so many characters. */
  | { readonly returnText: number }
  /** Returns what `context` tells of this attempt. */
  | { readonly facts: true }
  | { readonly log: string; readonly times?: number }
  | { readonly publish: unknown; readonly channel?: string }
  /** Tells progress so many times, `everyMs` apart, and returns once it has told the last. */
  | { readonly progress: number; readonly everyMs: number }
  /** Enqueues a job and returns its id. */
  | { readonly enqueue: string; readonly input?: unknown; readonly options?: JobOptions }
  /** Returns the process id, and this thread's id and nice value. */
  | { readonly whereAmI: true };

/** What memory is taken as: in the JavaScript heap, beside it, as texts, and by native code. */
export type Hoard = "arrays" | "bytes" | "texts" | "blobs";

export interface Facts {
  readonly id: string;
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly task: string;
  readonly node: string;
}

export const settings = setup(() => ({ obedient: { count: 0 } }));

const options: TaskOptions = { queue: "obedient", timeout: "1m" };

export const obedient = task("obedient", options, obey);
export const obedientProcess = task(
  "obedient.process",
  { ...options, isolation: "process" },
  obey,
);

async function obey(order: Order): Promise<unknown> {
  const [kind] = Object.keys(order);
  if ("return" in order) return order.return;
  if ("throw" in order) throw errorOf(order.type ?? "ValueError", order.throw);
  if ("throwValue" in order) throw order.throwValue;
  if ("throwWithCause" in order) {
    throw new Error(order.throwWithCause, { cause: new TypeError("the cause behind it") });
  }
  if ("throwHuge" in order) throw new Error("x".repeat(order.throwHuge));
  if ("retry" in order) throw new Retry(order.retry === null ? {} : { after: order.retry });
  if ("reject" in order) throw new Reject(order.reject);
  if ("hang" in order) return await forEver();
  if ("spin" in order) spin();
  if ("storm" in order) return await storm();
  if ("wait" in order) {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, order.wait);
  }
  if ("block" in order) return Bun.sleepSync(order.block);
  if ("sleep" in order) return await pause(order.sleep, order.sleep);
  if ("sleepUnlessAborted" in order) {
    return await pause(order.sleepUnlessAborted, "slept", { signal: context.signal });
  }
  if ("untilAborted" in order) return await aborted();
  if ("deaf" in order) return await aborted().then(forEver);
  if ("allocate" in order) return allocate(order.allocate);
  if ("hoard" in order) hoard(order.hoard);
  if ("hoardPolitely" in order) return await hoardPolitely(order.hoardPolitely);
  if ("leak" in order) return leaked.push(bytes(order.leak));
  if ("litter" in order) return litter(order.litter);
  if ("exit" in order) process.exit(order.exit);
  if ("kill" in order) return process.kill(process.pid, "SIGKILL") && await forEver();
  if ("spawnSleep" in order) return spawnSync("sleep", [String(order.spawnSleep)]).status;
  if ("throwInTimer" in order) {
    setTimeout(() => {
      throw errorOf("TimerError", order.throwInTimer);
    }, 1);
    return await forEver();
  }
  if ("throwInMicrotask" in order) {
    queueMicrotask(() => {
      throw errorOf("MicrotaskError", order.throwInMicrotask);
    });
    return await forEver();
  }
  if ("leaveThrowingTimer" in order) {
    setTimeout(() => {
      throw errorOf("LateError", "thrown after its task had ended");
    }, order.leaveThrowingTimer);
    return "left";
  }
  if ("rejectUnhandled" in order) {
    void Promise.reject(new Error(order.rejectUnhandled));
    return await pause(20, "went on");
  }
  if ("count" in order) return ++settings.obedient.count;
  if ("headers" in order) {
    Object.assign(context.headers, order.headers);
    return context.request.headers;
  }
  if ("returnBigInt" in order) return 10n;
  if ("returnCycle" in order) return cycle();
  if ("returnFunction" in order) return () => {};
  if ("returnNothing" in order) return undefined;
  if ("returnText" in order) return "x".repeat(order.returnText);
  if ("facts" in order) return facts();
  if ("log" in order) {
    for (let line = 0; line < (order.times ?? 1); line++) {
      context.log.info(order.log, { line });
    }
    return null;
  }
  if ("publish" in order) {
    return await context.pubsub.publish(order.channel ?? "obedient", order.publish);
  }
  if ("progress" in order) {
    for (let step = 1; step <= order.progress; step++) {
      context.progress(step / order.progress, `step ${step}`);
      if (order.everyMs > 0) await pause(order.everyMs);
    }
    return order.progress;
  }
  if ("enqueue" in order) return await enqueue(order.enqueue, order.input, order.options);
  if ("whereAmI" in order) return whereAmI();
  throw new TypeError(`The obedient task does not know ${JSON.stringify(kind)}`);
}

function errorOf(type: string, message: string): Error {
  return Object.assign(new Error(message), { name: type });
}

function forEver(): Promise<never> {
  return new Promise(() => {});
}

function spin(): never {
  while (true) { /* Only a limit ends this. */ }
}

async function storm(): Promise<never> {
  while (true) await undefined;
}

function aborted(): Promise<string> {
  const { signal } = context;
  const name = () => signal.reason instanceof Error ? signal.reason.name : String(signal.reason);
  if (signal.aborted) return Promise.resolve(name());
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(name()), { once: true });
  });
}

function allocate(mebibytes: number): number {
  const kept: Uint8Array[] = [];
  for (let count = 0; count < mebibytes; count++) kept.push(new Uint8Array(2 ** 20).fill(count));
  return kept.length;
}

function bytes(mebibytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(mebibytes * 2 ** 20).fill(1);
}

const HOARDS: Readonly<Record<Hoard, (count: number) => unknown>> = {
  arrays: (count) => new Array(10_000).fill(count),
  bytes: () => bytes(1),
  texts: (count) => JSON.stringify("x".repeat(2 ** 20) + count),
  blobs: () => new Blob([bytes(1)]),
};

function hoard(kind: Hoard): never {
  const kept: unknown[] = [];
  while (true) kept.push(HOARDS[kind](kept.length));
}

async function hoardPolitely(mebibytes: number): Promise<never> {
  const kept: unknown[] = [];
  while (true) {
    kept.push(bytes(mebibytes));
    await pause(5);
  }
}

/** Never emptied. */
const leaked: Uint8Array[] = [];

function litter(mebibytes: number): number {
  let sum = 0;
  for (let count = 0; count < mebibytes; count++) sum += bytes(1)[count] ?? 0;
  return sum;
}

function cycle(): object {
  const self: { self?: object } = {};
  self.self = self;
  return self;
}

function facts(): Facts {
  const { id, attempt, redelivered, task, node } = context;
  return { id, attempt, redelivered, task, node };
}

/** Linux only. proc(5): /proc/thread-self/stat, where field 19 is the nice value. */
function whereAmI(): { readonly pid: number; readonly thread: number; readonly nice: number } {
  const [thread = "", fields = ""] = readFileSync("/proc/thread-self/stat", "utf8").split(
    / \(.*\) /,
  );
  return { pid: process.pid, thread: Number(thread), nice: Number(fields.split(" ")[16]) };
}
