/**
 * A node's isolates: attempts go in, endings come out, and whatever an attempt does, its ending comes
 * on time and the slot is whole again. The main thread runs no user code.
 */
import { getLogger } from "@logtape/logtape";
import { Deadlines } from "../async/deadlines.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Command } from "../platform/child_process.ts";
import type { Isolation, TaskDescriptor } from "../tasks/descriptor.ts";
import type { InterruptionCause } from "../tasks/errors.ts";
import type { AttemptEnd, AttemptRequest, PoolStats, RunOptions } from "./attempt.ts";
import { IsolateGroup } from "./group.ts";
import type { OpenIsolate } from "./isolate.ts";
import { LoneMembers } from "./lone_members.ts";
import { Member, type MemberEvents } from "./member.ts";
import { isCancelled, type Lane, type PoolAttempt, WaitingAttempts } from "./pool_attempt.ts";
import { openProcess } from "./process_isolate.ts";
import type { IsolateInit, IsolateLog } from "./protocol.ts";
import { StuckMembers } from "./stuck_members.ts";
import { openWebWorker } from "./web_worker_isolate.ts";

const log = getLogger(["coxswain", "isolates"]);

/** One line of a task's log, and the isolate that it came from. */
export interface TaskLogLine extends IsolateLog {
  readonly isolate: number;
}

export interface PoolOptions {
  /** entry.ts, as `new URL("./src/isolates/entry.ts", import.meta.url)` in main.ts. */
  readonly entryUrl: URL;
  /** The words that start this program again, for process isolates. */
  readonly selfCommand: Command;
  /** Files and folders, relative to the working directory. */
  readonly taskPaths: readonly string[];
  /** Whether the demo tasks are there too. Default true. */
  readonly demo?: boolean;
  /** How many Web Workers serve, and at most so many processes. At least 1. */
  readonly isolates: number;
  /** Attempts at once in one isolate. Default 1. */
  readonly slots?: number;
  /** Isolates of each kind that are kept ready to take a lost one's place. Default 1. */
  readonly spares?: number;
  /** An isolate is replaced after so many attempts. Default: never. */
  readonly maxTasksPerIsolate?: number;
  /** How long a cancelled attempt may take to end by itself. Default 2 s. */
  readonly cancelGraceMs?: number;
  /** How long an isolate may take to load the task files and run the set-ups. Default 30 s. */
  readonly startTimeoutMs?: number;
  /** How long an isolate's teardowns may take. Default 5 s. */
  readonly teardownMs?: number;
  readonly nodeId: string;
  /** What tasks log. Default: dropped. */
  readonly onLog?: (line: TaskLogLine) => void;
  /** Publishes for tasks; resolves when the broker took it. Default: tasks' publishes fail. */
  readonly onPublish?: (channel: string, messageJson: string) => Promise<void>;
  /** Another isolate is stuck in native code; given is how many are. */
  readonly onStuck?: (stuck: number) => void;
  /** `freeSlots` may have changed for another reason than an attempt's start or end. */
  readonly onChange?: () => void;
  readonly clock?: Clock;
}

export interface Pool {
  /**
   * Starts the isolates; resolves with the tasks when the first is ready.
   * @throws PoolStartError when it cannot get ready: a task file that does not load, two tasks of one
   *   name, a set-up that fails.
   */
  start(): Promise<readonly TaskDescriptor[]>;
  /** Runs an attempt when a slot is free, first come first served. Always resolves. */
  run(request: AttemptRequest, options?: RunOptions): Promise<AttemptEnd>;
  /** How many more attempts would start at once. */
  readonly freeSlots: number;
  readonly stats: PoolStats;
  /**
   * Gives back what waits (`cancelled`, not started), finishes what runs until `abort`, then cancels it;
   * then tears the isolates down. May be called again, with an `abort` of its own.
   */
  stop(abort?: AbortSignal): Promise<void>;
}

/** The isolates cannot get ready; trying again does not help until somebody mends the task files. */
export class PoolStartError extends Error {
  override readonly name = "PoolStartError";
  /** The task file or path that it is about, where there is one. */
  readonly file: string | undefined;

  constructor(reason: string, file?: string) {
    super(reason);
    this.file = file;
  }
}

export function createPool(options: PoolOptions): Pool {
  return new IsolatePool(options);
}

/** How long `stop` waits for threads that were told to end. */
const CLOSE_MS = 1_000;

class IsolatePool implements Pool, MemberEvents<PoolAttempt> {
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #init: IsolateInit;
  readonly #openers: Readonly<Record<Isolation, OpenIsolate>>;
  readonly #groups: Readonly<Record<Isolation, IsolateGroup<PoolAttempt>>>;
  readonly #lone: LoneMembers;
  readonly #stuck: StuckMembers<Member<PoolAttempt>>;
  readonly #slots: number;
  readonly #waiting = new WaitingAttempts();
  /** Attempts that hold a slot: they run, or an isolate is being made for them. */
  readonly #active = new Set<PoolAttempt>();
  /** Isolates whose thread or process has not ended. */
  readonly #alive = new Set<Member<PoolAttempt>>();
  readonly #first = Promise.withResolvers<readonly TaskDescriptor[]>();
  #phase: "created" | "starting" | "serving" | "stopping" = "created";
  #stopped: Promise<void> | undefined;
  /** Called when nothing is active any more; and when another isolate has ended. */
  #onIdle: (() => void) | undefined;
  #onClosed: (() => void) | undefined;
  #lastMember = 0;
  #lastOrder = 0;
  #killed = 0;
  #died = 0;
  #recycled = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
    const { clock = systemClock, slots = 1, spares = 1, demo = true } = options;
    for (
      const [name, value, least] of [
        ["isolates", options.isolates, 1],
        ["slots", slots, 1],
        ["spares", spares, 0],
        ["maxTasksPerIsolate", options.maxTasksPerIsolate ?? 1, 1],
      ] as const
    ) {
      if (Number.isInteger(value) && value >= least) continue;
      throw new RangeError(
        `Cannot make a pool: ${name} must be a whole number from ${least}, got ${value}`,
      );
    }
    this.#clock = clock;
    this.#slots = slots;
    this.#deadlines = new Deadlines(clock);
    this.#init = { taskPaths: options.taskPaths, demo, nodeId: options.nodeId };
    this.#openers = {
      worker: (events) => openWebWorker(options.entryUrl, events),
      process: (events) => openProcess(options.selfCommand, events),
    };
    const group = (kind: Isolation) =>
      new IsolateGroup<PoolAttempt>({
        slots,
        spares,
        clock,
        open: () => this.#open(kind),
        onServing: () => {
          this.#dispatch();
          this.#options.onChange?.();
        },
      });
    this.#groups = { worker: group("worker"), process: group("process") };
    this.#lone = new LoneMembers({
      clock,
      open: (kind) => this.#open(kind),
      onReady: (attempt, member) => this.#start(attempt, member),
      onGivenUp: (attempt, reason) => {
        this.#finish(attempt, { kind: "isolate_died", reason, started: attempt.hasStarted });
        this.#dispatch();
      },
    });
    this.#stuck = new StuckMembers(clock, this.#deadlines, (stuck) => {
      log.warn("{stuck} killed isolates still run: native code blocks their threads", { stuck });
      this.#options.onStuck?.(stuck);
    });
  }

  start(): Promise<readonly TaskDescriptor[]> {
    if (this.#phase === "created") {
      this.#phase = "starting";
      // One alone first: on a machine with few processors it is ready sooner, and one that fails tells
      // once why.
      this.#groups.worker.want(1);
    }
    return this.#first.promise;
  }

  get stats(): PoolStats {
    return {
      isolates: this.#groups.worker.serving.length + this.#groups.process.serving.length,
      running: this.#active.size,
      waiting: this.#waiting.withoutSlot,
      stuck: this.#stuck.count,
      killed: this.#killed,
      died: this.#died,
      recycled: this.#recycled,
    };
  }

  get freeSlots(): number {
    const room = this.#groups.worker.serving.length * this.#slots;
    return Math.max(0, room - this.#active.size - this.#waiting.withoutSlot);
  }

  run(request: AttemptRequest, options: RunOptions = {}): Promise<AttemptEnd> {
    const { signal } = options;
    if (this.#phase === "stopping" || signal?.aborted) {
      return Promise.resolve({ kind: "cancelled", started: false });
    }
    return new Promise((settle) => {
      const lane = request.alone ? "alone" : request.isolation;
      const attempt: PoolAttempt = {
        request,
        options,
        order: ++this.#lastOrder,
        settle,
        place: { kind: "waiting", lane },
        hasStarted: false,
        interruption: undefined,
        runsAgain: false,
        hard: undefined,
        soft: undefined,
        grace: undefined,
        unwatch: undefined,
      };
      if (signal) {
        const cancel = () => this.#cancel(attempt, "cancelled");
        signal.addEventListener("abort", cancel, { once: true });
        attempt.unwatch = () => signal.removeEventListener("abort", cancel);
      }
      // The common case goes past the queue.
      const member = this.#waiting.size === 0 && lane === "worker" && this.#hasRoom
        ? this.#groups.worker.leastLoaded()
        : undefined;
      if (member) return this.#start(attempt, member);
      this.#waiting.add(attempt, lane);
      this.#dispatch();
    });
  }

  stop(abort?: AbortSignal): Promise<void> {
    this.#stopped ??= this.#shutDown();
    if (abort) {
      const cancelAll = () => this.#cancelAll();
      if (abort.aborted) cancelAll();
      else {
        abort.addEventListener("abort", cancelAll, { once: true });
        void this.#stopped.then(() => abort.removeEventListener("abort", cancelAll));
      }
    }
    return this.#stopped;
  }

  // Attempts

  /** A slot of the node is free; whether an isolate has room for it is another question. */
  get #hasRoom(): boolean {
    return this.#active.size < this.#options.isolates * this.#slots;
  }

  /** Starts what can start. */
  #dispatch(): void {
    while (this.#waiting.size > 0) {
      const attempt = this.#waiting.first((lane) => this.#mayGo(lane));
      if (attempt === undefined) return;
      const lane = attempt.place.kind === "waiting" ? attempt.place.lane : "again";
      this.#waiting.delete(attempt);
      const member = lane === "worker" || lane === "process"
        ? this.#groups[lane].leastLoaded()
        : undefined;
      if (member) this.#start(attempt, member);
      else {
        this.#active.add(attempt);
        this.#lone.open(attempt);
      }
    }
  }

  #mayGo(lane: Lane): boolean {
    switch (lane) {
      case "again":
        // It has held its slot since it first ran.
        return this.#lone.hasRoom;
      case "alone":
        return this.#hasRoom && this.#lone.hasRoom;
      case "worker":
        return this.#hasRoom && this.#groups.worker.leastLoaded() !== undefined;
      case "process": {
        if (!this.#hasRoom) return false;
        if (this.#groups.process.leastLoaded() !== undefined) return true;
        // Processes start when they are first needed, and then stay.
        const { serving } = this.#groups.process;
        const waiting = Math.ceil(this.#waiting.sizeOf("process") / this.#slots);
        this.#groups.process.want(Math.min(this.#options.isolates, serving.length + waiting));
        return false;
      }
    }
  }

  #start(attempt: PoolAttempt, member: Member<PoolAttempt>): void {
    const { request, options, runsAgain } = attempt;
    this.#active.add(attempt);
    const run = member.run(attempt, {
      id: request.id,
      task: request.task,
      attempt: request.attempt,
      redelivered: request.redelivered || runsAgain,
      headers: request.headers,
    }, request.body);
    attempt.place = { kind: "running", member, run };
    if (attempt.interruption) member.interrupt(run, attempt.interruption);
    if (!attempt.hasStarted) {
      attempt.hasStarted = true;
      this.#setLimits(attempt);
      options.onStart?.();
    }
    this.#recycleIfDue(member);
  }

  /** Limits count from here, also where the attempt has to run again. */
  #setLimits(attempt: PoolAttempt): void {
    const { timeoutMs, softTimeoutMs } = attempt.request;
    const now = this.#clock.monotonic();
    attempt.hard = this.#deadlines.set(now + timeoutMs, () => this.#timeOut(attempt));
    if (softTimeoutMs === undefined || softTimeoutMs >= timeoutMs) return;
    attempt.soft = this.#deadlines.set(
      now + softTimeoutMs,
      () => this.#interrupt(attempt, "soft_limit"),
    );
  }

  /** Tells an attempt's ending. What it ran in is dealt with by the caller. */
  #finish(attempt: PoolAttempt, end: AttemptEnd): void {
    if (attempt.place.kind === "over") return;
    this.#waiting.delete(attempt);
    attempt.place = { kind: "over" };
    if (attempt.hard) this.#deadlines.cancel(attempt.hard);
    if (attempt.soft) this.#deadlines.cancel(attempt.soft);
    if (attempt.grace) this.#deadlines.cancel(attempt.grace);
    attempt.unwatch?.();
    this.#active.delete(attempt);
    attempt.settle(end);
    // One made for it alone ends with it, tearing down if it still can.
    this.#lone.release(attempt)?.retire();
    if (this.#active.size === 0) this.#onIdle?.();
  }

  #timeOut(attempt: PoolAttempt): void {
    this.#endByForce(attempt, { kind: "timed_out", limitMs: attempt.request.timeoutMs });
  }

  #interrupt(attempt: PoolAttempt, why: InterruptionCause): void {
    if (isCancelled(attempt)) return;
    attempt.interruption = why;
    const { place } = attempt;
    if (place.kind === "running") place.member.interrupt(place.run, why);
  }

  #cancel(attempt: PoolAttempt, why: "cancelled" | "stopping"): void {
    const { place } = attempt;
    if (place.kind === "over" || isCancelled(attempt)) return;
    if (place.kind !== "running") {
      this.#finish(attempt, { kind: "cancelled", started: attempt.hasStarted });
      return this.#dispatch();
    }
    this.#interrupt(attempt, why);
    const { cancelGraceMs = 2_000 } = this.#options;
    attempt.grace = this.#deadlines.set(
      this.#clock.monotonic() + cancelGraceMs,
      () => this.#endByForce(attempt, { kind: "cancelled", started: true }),
    );
  }

  /** Tells the ending first, then kills what it runs in: the caller knows at once. */
  #endByForce(attempt: PoolAttempt, end: AttemptEnd): void {
    const { place, request } = attempt;
    if (place.kind === "running") place.member.works.delete(place.run);
    this.#finish(attempt, end);
    if (place.kind === "running") {
      log.debug("Killing isolate {isolate}: {task} {why}", {
        isolate: place.member.id,
        task: request.task,
        id: request.id,
        why: end.kind,
        neighbours: place.member.works.size,
      });
      this.#kill(place.member, "it was killed at the limit of a neighbour");
    }
    this.#dispatch();
  }

  #kill(member: Member<PoolAttempt>, reason: string): void {
    this.#killed += 1;
    this.#stuck.watch(member);
    member.kill();
    const neighbours = [...member.works.values()];
    member.works.clear();
    for (const neighbour of neighbours) this.#runAgain(neighbour, reason);
    this.#groups[member.kind].replace(member);
    this.#options.onChange?.();
  }

  /** Its isolate was lost, and it may not be to blame: it runs again, once, alone. */
  #runAgain(attempt: PoolAttempt, reason: string): void {
    if (isCancelled(attempt)) {
      return this.#finish(attempt, { kind: "cancelled", started: true });
    }
    if (attempt.runsAgain || attempt.request.once) {
      return this.#finish(attempt, { kind: "isolate_died", reason, started: true });
    }
    attempt.runsAgain = true;
    this.#waiting.add(attempt, "again");
  }

  // What isolates tell

  onReady(
    member: Member<PoolAttempt>,
    tasks: readonly TaskDescriptor[],
    warnings: readonly string[],
  ): void {
    if (this.#lone.has(member)) return this.#lone.ready(member);
    this.#groups[member.kind].ready(member);
    if (this.#phase !== "starting") return;
    this.#phase = "serving";
    for (const warning of warnings) log.warn("{warning}", { warning });
    this.#first.resolve(tasks);
    this.#groups.worker.want(this.#options.isolates);
  }

  onStartFailed(member: Member<PoolAttempt>, reason: string, file: string | undefined): void {
    if (this.#lone.has(member)) return this.#lone.startFailed(member, reason);
    if (this.#phase === "starting") {
      this.#first.reject(new PoolStartError(reason, file));
      void this.stop();
      return;
    }
    const pauseMs = this.#groups[member.kind].startFailed(member);
    log.error("Isolate {isolate} did not get ready: {reason}", {
      isolate: member.id,
      kind: member.kind,
      reason,
      retryInMs: Math.round(pauseMs),
    });
  }

  onEnded(_member: Member<PoolAttempt>, attempt: PoolAttempt, end: AttemptEnd): void {
    const wasCancelled = end.kind === "threw" && isCancelled(attempt);
    this.#finish(attempt, wasCancelled ? { kind: "cancelled", started: true } : end);
    this.#dispatch();
  }

  onRetire(member: Member<PoolAttempt>, reason: string): void {
    log.warn("Isolate {isolate} is replaced: {reason}", { isolate: member.id, reason });
    this.#groups[member.kind].replace(member);
    member.retire();
    this.#options.onChange?.();
  }

  onDied(member: Member<PoolAttempt>, reason: string): void {
    this.#died += 1;
    const works = [...member.works.values()];
    member.works.clear();
    log.warn("Isolate {isolate} ended by itself: {reason}", {
      isolate: member.id,
      kind: member.kind,
      reason,
      tasks: works.map(({ request }) => request.task).join(" "),
    });
    const [guilty] = works;
    if (guilty && works.length === 1) {
      this.#finish(
        guilty,
        isCancelled(guilty)
          ? { kind: "cancelled", started: true }
          : { kind: "isolate_died", reason, started: true },
      );
    } else for (const work of works) this.#runAgain(work, reason);
    const group = this.#groups[member.kind];
    if (works.length > 0) group.replace(member);
    else group.replaceIdle(member);
    this.#dispatch();
    this.#options.onChange?.();
  }

  onClosed(member: Member<PoolAttempt>): void {
    this.#stuck.closed(member);
    this.#alive.delete(member);
    this.#onClosed?.();
  }

  onLog(member: Member<PoolAttempt>, line: IsolateLog): void {
    this.#options.onLog?.({ ...line, isolate: member.id });
  }

  onPublish(
    member: Member<PoolAttempt>,
    publish: number,
    channel: string,
    messageJson: string,
  ): void {
    const { onPublish } = this.#options;
    if (onPublish === undefined) {
      return member.published(publish, "Cannot publish: this node has no broker to publish to");
    }
    onPublish(channel, messageJson).then(
      () => member.published(publish, undefined),
      (error: unknown) =>
        member.published(publish, error instanceof Error ? error.message : String(error)),
    );
  }

  // Isolates

  #open(kind: Isolation): Member<PoolAttempt> {
    const { startTimeoutMs = 30_000, teardownMs = 5_000 } = this.#options;
    const member = new Member<PoolAttempt>({
      id: ++this.#lastMember,
      kind,
      open: this.#openers[kind],
      init: this.#init,
      startTimeoutMs,
      teardownMs,
      clock: this.#clock,
      deadlines: this.#deadlines,
      events: this,
    });
    this.#alive.add(member);
    member.start();
    return member;
  }

  #recycleIfDue(member: Member<PoolAttempt>): void {
    const { maxTasksPerIsolate } = this.#options;
    if (maxTasksPerIsolate === undefined || member.served < maxTasksPerIsolate) return;
    if (this.#lone.has(member)) return;
    this.#recycled += 1;
    this.#groups[member.kind].replace(member);
    member.retire();
  }

  // Stopping

  #cancelAll(): void {
    for (const attempt of [...this.#active]) this.#cancel(attempt, "stopping");
  }

  async #shutDown(): Promise<void> {
    const wasStarting = this.#phase === "starting" || this.#phase === "created";
    this.#phase = "stopping";
    if (wasStarting) {
      this.#first.reject(new PoolStartError("The pool was stopped before it was ready"));
      // Who asked for the start is told; where nobody did, there is nothing to tell.
      this.#first.promise.catch(() => undefined);
    }
    for (const attempt of this.#waiting.all()) {
      if (!attempt.hasStarted) this.#finish(attempt, { kind: "cancelled", started: false });
    }
    if (this.#active.size > 0) {
      await new Promise<void>((resolve) => this.#onIdle = resolve);
    }
    for (const group of Object.values(this.#groups)) {
      for (const member of group.stop()) member.retire();
    }
    await this.#allClosed();
  }

  /**
   * Waits for isolates to tear down and end, and for threads that were killed a second at most: native
   * code may block them for ever.
   */
  async #allClosed(): Promise<void> {
    const { teardownMs = 5_000 } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    let limit = this.#clock.after(teardownMs + CLOSE_MS, resolve);
    this.#onClosed = () => {
      if (this.#alive.size === 0) return resolve();
      if ([...this.#alive].some(({ state }) => state !== "killed")) return;
      limit.cancel();
      limit = this.#clock.after(CLOSE_MS, resolve);
    };
    this.#onClosed();
    await promise;
    this.#onClosed = undefined;
    limit.cancel();
  }
}
