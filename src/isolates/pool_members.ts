/**
 * The isolates of a pool: those that serve, their spares, those made for one attempt each, and those
 * that still have to end. Which attempt runs where is isolate_pool.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Deadlines } from "../async/deadlines.ts";
import type { Clock } from "../lifecycle/clock.ts";
import type { Definitions } from "../tasks/definitions.ts";
import type { Isolation } from "../tasks/descriptor.ts";
import type { Progress } from "../tasks/progress.ts";
import type { AttemptEnd } from "./attempt.ts";
import { answerAsk } from "./answer_ask.ts";
import { IsolateGroup } from "./group.ts";
import type { OpenIsolate } from "./isolate.ts";
import { Leftovers } from "./leftovers.ts";
import { LoneMembers } from "./lone_members.ts";
import { Member, type MemberEvents } from "./member.ts";
import type { MemoryExcess } from "./memory_guard.ts";
import { mebibytes } from "./memory_text.ts";
import type { PoolAttempt } from "./pool_attempt.ts";
import { type PoolOptions, PoolStartError } from "./pool_options.ts";
import { PoolMemory } from "./pool_memory.ts";
import { openProcess } from "./process_isolate.ts";
import type { Ask, IsolateLog } from "./protocol.ts";
import { StuckMembers } from "./stuck_members.ts";
import { openWebWorker } from "./web_worker_isolate.ts";

const log = getLogger(["coxswain", "isolates"]);

/** How long `stop` waits for threads that were told to end. */
const CLOSE_MS = 1_000;

type PoolMember = Member<PoolAttempt>;

/** Who places attempts is told what becomes of them and of the room for them. */
export interface MembersOwner {
  /** There may be more room, or less. */
  onRoomChanged(): void;
  onEnded(attempt: PoolAttempt, end: AttemptEnd): void;
  /** The isolate made for this attempt is ready. */
  onOwnReady(attempt: PoolAttempt, member: PoolMember): void;
  /** No isolate could be made for this attempt. */
  onOwnFailed(attempt: PoolAttempt, reason: string): void;
  /** Their isolate ended by itself. */
  onHomeless(attempts: readonly PoolAttempt[], reason: string): void;
  /** Their isolate was killed for the memory that it held. */
  onMemoryExceeded(
    attempts: readonly PoolAttempt[],
    end: Extract<AttemptEnd, { kind: "memory_exceeded" }>,
  ): void;
}

export class PoolMembers implements MemberEvents<PoolAttempt> {
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #owner: MembersOwner;
  readonly #openers: Readonly<Record<Isolation, OpenIsolate>>;
  readonly #groups: Readonly<Record<Isolation, IsolateGroup<PoolAttempt>>>;
  readonly #lone: LoneMembers;
  readonly #stuck: StuckMembers<PoolMember>;
  /** How many should serve. */
  #isolates: number;
  readonly #leftovers: Leftovers;
  readonly #memory: PoolMemory | undefined;
  /** Isolates whose thread or process has not ended. */
  readonly #alive = new Set<PoolMember>();
  /** The first isolate's tasks are the pool's. */
  readonly #first = Promise.withResolvers<Definitions>();
  #phase: "created" | "starting" | "serving" | "stopped" = "created";
  /** Called when another isolate has ended. */
  #onClosed: (() => void) | undefined;
  #lastId = 0;
  #killed = 0;
  #died = 0;
  #recycled = 0;

  constructor(options: PoolOptions, clock: Clock, deadlines: Deadlines, owner: MembersOwner) {
    this.#options = options;
    this.#isolates = options.isolates;
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#owner = owner;
    this.#openers = {
      worker: (events) => openWebWorker(options.entryUrl, events),
      process: (events) => openProcess(options.selfCommand, events),
    };
    const { slots = 1, spares = 1 } = options;
    const group = (kind: Isolation) =>
      new IsolateGroup<PoolAttempt>({
        slots,
        spares,
        clock,
        open: () => this.#open(kind),
        onServing: () => owner.onRoomChanged(),
      });
    this.#groups = { worker: group("worker"), process: group("process") };
    this.#lone = new LoneMembers({
      clock,
      open: (kind) => this.#open(kind),
      onReady: (attempt, member) => owner.onOwnReady(attempt, member),
      onGivenUp: (attempt, reason) => owner.onOwnFailed(attempt, reason),
    });
    this.#leftovers = new Leftovers(clock);
    this.#stuck = new StuckMembers(clock, deadlines, (stuck) => {
      log.warn("{stuck} killed isolates still run: native code blocks their threads", { stuck });
      options.onStuck?.(stuck);
    });
    this.#memory = options.maxMemoryBytes === undefined ? undefined : new PoolMemory({
      limitBytes: options.maxMemoryBytes,
      clock,
      alive: () => this.#alive,
      kill: (member, excess) => this.#killForMemory(member, excess),
      replace: (member, reason) => this.#replaceForMemory(member, reason),
    });
  }

  /** Resolves when the first isolate is ready. @throws PoolStartError when it does not get ready. */
  start(): Promise<Definitions> {
    if (this.#phase === "created") {
      this.#phase = "starting";
      this.#memory?.start();
      // One alone first: on a machine with few processors it is ready sooner, and one that fails tells
      // once why.
      this.#groups.worker.want(1);
    }
    return this.#first.promise;
  }

  get counts() {
    return {
      stuck: this.#stuck.count,
      killed: this.#killed,
      died: this.#died,
      recycled: this.#recycled,
    };
  }

  /** How many isolates of a kind take attempts now. */
  serving(kind: Isolation): number {
    return this.#groups[kind].serving.length;
  }

  /** One of a kind that has room, if any has. */
  leastLoaded(kind: Isolation): PoolMember | undefined {
    return this.#groups[kind].leastLoaded();
  }

  /** From now on so many processes should serve, if not more. */
  wantProcesses(count: number): void {
    this.#groups.process.want(Math.min(this.#isolates, count));
  }

  /** From now on so many of each kind may serve; Web Workers all do. */
  resize(isolates: number): void {
    this.#isolates = isolates;
    for (const group of Object.values(this.#groups)) {
      for (const member of group.shrink(isolates)) member.retire();
    }
    if (this.#phase === "serving") this.#groups.worker.want(isolates);
  }

  /** One more isolate may be made for one attempt. */
  get hasRoomForOwn(): boolean {
    return this.#lone.hasRoom;
  }

  /** Makes an isolate for one attempt; `onOwnReady` or `onOwnFailed` follows. */
  openOwn(attempt: PoolAttempt): void {
    this.#lone.open(attempt);
  }

  /** An attempt is over. One that was made for it ends with it, tearing down if it still can. */
  over(attempt: PoolAttempt): void {
    this.#lone.release(attempt)?.retire();
  }

  /** Kills an isolate and puts another in its place. @returns whom that left without a home. */
  kill(member: PoolMember): readonly PoolAttempt[] {
    this.#killed += 1;
    this.#stuck.watch(member);
    member.kill();
    const homeless = takeWorks(member);
    this.#groups[member.kind].replace(member);
    return homeless;
  }

  /** Replaces an isolate that has had its share of attempts; it finishes what it runs. */
  recycleIfDue(member: PoolMember): void {
    const { maxTasksPerIsolate } = this.#options;
    if (maxTasksPerIsolate === undefined || member.served < maxTasksPerIsolate) return;
    if (this.#lone.has(member)) return;
    this.#recycled += 1;
    this.#groups[member.kind].replace(member);
    member.retire();
  }

  /** A start that has not come to its end fails now. */
  cancelStart(): void {
    if (this.#phase === "serving") return;
    this.#first.reject(new PoolStartError("The pool was stopped before it was ready"));
    // Who asked for the start is told; where nobody did, there is nothing to tell.
    this.#first.promise.catch(() => undefined);
  }

  /**
   * Tears down and ends all isolates. Waits for that, but for threads that were killed a second at
   * most: native code may block them for ever.
   */
  async stop(): Promise<void> {
    this.#phase = "stopped";
    this.#leftovers.stop();
    this.#memory?.stop();
    for (const group of Object.values(this.#groups)) {
      for (const member of group.stop()) member.retire();
    }
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

  // What isolates tell

  onReady(
    member: PoolMember,
    definitions: Definitions,
    warnings: readonly string[],
  ): void {
    if (this.#lone.has(member)) return this.#lone.ready(member);
    this.#groups[member.kind].ready(member);
    if (this.#phase !== "starting") return;
    const { spares = 1 } = this.#options;
    const objection = this.#memory?.objection(member, this.#isolates + spares - 1);
    if (objection !== undefined) {
      this.#first.reject(new PoolStartError(objection));
      return void this.stop();
    }
    this.#phase = "serving";
    for (const warning of warnings) log.warn("{warning}", { warning });
    this.#first.resolve(definitions);
    this.#groups.worker.want(this.#isolates);
  }

  onStartFailed(member: PoolMember, reason: string, file: string | undefined): void {
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

  onEnded(_member: PoolMember, attempt: PoolAttempt, end: AttemptEnd): void {
    this.#owner.onEnded(attempt, end);
  }

  onRetire(member: PoolMember, reason: string): void {
    log.warn("Isolate {isolate} is replaced: {reason}", { isolate: member.id, reason });
    this.#groups[member.kind].replace(member);
    member.retire();
    this.#owner.onRoomChanged();
  }

  onDied(member: PoolMember, reason: string): void {
    this.#died += 1;
    const homeless = takeWorks(member);
    log.warn("Isolate {isolate} ended by itself: {reason}", {
      isolate: member.id,
      kind: member.kind,
      reason,
      tasks: homeless.map(({ request }) => request.task).join(" "),
    });
    this.#owner.onHomeless(homeless, reason);
    const group = this.#groups[member.kind];
    if (homeless.length > 0) group.replace(member);
    else group.replaceIdle(member);
    this.#owner.onRoomChanged();
  }

  onClosed(member: PoolMember): void {
    this.#stuck.closed(member);
    if (member.kind === "worker" && this.#phase !== "stopped") this.#leftovers.add();
    this.#memory?.closed(member);
    this.#alive.delete(member);
    this.#onClosed?.();
  }

  onLog(member: PoolMember, line: IsolateLog): void {
    this.#options.onLog?.({ ...line, isolate: member.id });
  }

  onProgress(_member: PoolMember, attempt: PoolAttempt, progress: Progress): void {
    attempt.options.onProgress?.(progress);
  }

  onMeasured(member: PoolMember): void {
    this.#memory?.measured(member);
  }

  onAsk(member: PoolMember, ask: Ask): void {
    void answerAsk(this.#options.asks ?? {}, ask).then((answer) => member.told(ask.ask, answer));
  }

  #killForMemory(member: PoolMember, excess: MemoryExcess): void {
    const tasks = [...member.works.values()].map(({ request }) => request.task).join(" ");
    log.warn("Isolate {isolate} is killed: it held about {heldBytes} bytes", {
      isolate: member.id,
      kind: member.kind,
      ...excess,
      tasks,
    });
    if (member.state === "starting") {
      member.failStart(`it held ${mebibytes(excess.heldBytes)} before it was ready`);
      return this.#stuck.watch(member);
    }
    const homeless = this.kill(member);
    this.#owner.onMemoryExceeded(homeless, {
      kind: "memory_exceeded",
      ...excess,
      isolate: member.id,
    });
    this.#owner.onRoomChanged();
  }

  /** It finishes what it runs. One that is made for a single attempt ends with it anyway. */
  #replaceForMemory(member: PoolMember, reason: string): void {
    if (this.#lone.has(member) || member.state !== "ready") return;
    this.#recycled += 1;
    this.onRetire(member, reason);
  }

  #open(kind: Isolation): PoolMember {
    const { taskPaths, demo = true, nodeId, startTimeoutMs = 30_000, teardownMs = 5_000 } =
      this.#options;
    const member: PoolMember = new Member({
      id: ++this.#lastId,
      kind,
      open: this.#openers[kind],
      init: { taskPaths, demo, nodeId, hasMemoryLimit: this.#memory !== undefined },
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
}

function takeWorks(member: PoolMember): readonly PoolAttempt[] {
  const works = [...member.works.values()];
  member.works.clear();
  return works;
}
