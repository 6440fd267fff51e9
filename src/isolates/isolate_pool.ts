/**
 * The pool's attempts: who runs where and when, their limits, and what becomes of them when their
 * isolate is lost. The isolates themselves are pool_members.ts.
 */
import { getLogger } from "@logtape/logtape";
import { Deadlines } from "../async/deadlines.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Definitions } from "../tasks/definitions.ts";
import type { InterruptionCause } from "../tasks/errors.ts";
import type { AttemptEnd, AttemptRequest, PoolStats, RunOptions } from "./attempt.ts";
import type { Member } from "./member.ts";
import { memoryExceededText } from "./memory_text.ts";
import type { Pool } from "./pool.ts";
import { isCancelled, type Lane, type PoolAttempt, WaitingAttempts } from "./pool_attempt.ts";
import { type MembersOwner, PoolMembers } from "./pool_members.ts";
import type { PoolOptions } from "./pool_options.ts";

const log = getLogger(["coxswain", "isolates"]);

export class IsolatePool implements Pool, MembersOwner {
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #members: PoolMembers;
  readonly #slots: number;
  /** How many should serve. */
  #isolates: number;
  readonly #waiting = new WaitingAttempts();
  /** Attempts that hold a slot: they run, or an isolate is being made for them. */
  readonly #active = new Set<PoolAttempt>();
  #lastOrder = 0;
  /** Set by the first `stop`. */
  #stopped: Promise<void> | undefined;
  /** Called when nothing is active any more. */
  #onIdle: (() => void) | undefined;

  constructor(options: PoolOptions) {
    const { clock = systemClock, slots = 1 } = options;
    this.#options = options;
    this.#clock = clock;
    this.#slots = slots;
    this.#isolates = options.isolates;
    this.#deadlines = new Deadlines(clock);
    this.#members = new PoolMembers(options, clock, this.#deadlines, this);
  }

  start(): Promise<Definitions> {
    return this.#members.start();
  }

  resize(isolates: number): void {
    this.#isolates = isolates;
    this.#members.resize(isolates);
    this.onRoomChanged();
  }

  get stats(): PoolStats {
    return {
      isolates: this.#members.serving("worker") + this.#members.serving("process"),
      running: this.#active.size,
      waiting: this.#waiting.withoutSlot,
      ...this.#members.counts,
    };
  }

  get freeSlots(): number {
    const room = this.#members.serving("worker") * this.#slots;
    return Math.max(0, room - this.#active.size - this.#waiting.withoutSlot);
  }

  run(request: AttemptRequest, options: RunOptions = {}): Promise<AttemptEnd> {
    const { signal } = options;
    if (this.#stopped !== undefined || signal?.aborted) {
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
        ? this.#members.leastLoaded("worker")
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

  /** A slot of the node is free; whether an isolate has room for it is another question. */
  get #hasRoom(): boolean {
    return this.#active.size < this.#isolates * this.#slots;
  }

  /** Starts what can start. */
  #dispatch(): void {
    while (this.#waiting.size > 0) {
      const attempt = this.#waiting.first((lane) => this.#mayGo(lane));
      if (attempt?.place.kind !== "waiting") return;
      const { lane } = attempt.place;
      this.#waiting.delete(attempt);
      const member = lane === "worker" || lane === "process"
        ? this.#members.leastLoaded(lane)
        : undefined;
      if (member) this.#start(attempt, member);
      else {
        this.#active.add(attempt);
        this.#members.openOwn(attempt);
      }
    }
  }

  #mayGo(lane: Lane): boolean {
    switch (lane) {
      case "again":
        // It has held its slot since it first ran.
        return this.#members.hasRoomForOwn;
      case "alone":
        return this.#hasRoom && this.#members.hasRoomForOwn;
      case "worker":
        return this.#hasRoom && this.#members.leastLoaded("worker") !== undefined;
      case "process": {
        if (!this.#hasRoom) return false;
        if (this.#members.leastLoaded("process") !== undefined) return true;
        // Processes start when they are first needed, and then stay.
        const needed = Math.ceil(this.#waiting.sizeOf("process") / this.#slots);
        this.#members.wantProcesses(this.#members.serving("process") + needed);
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
    this.#members.recycleIfDue(member);
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
    this.#members.over(attempt);
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
      const { member } = place;
      log.debug("Killing isolate {isolate}: {task} {why}", {
        isolate: member.id,
        task: request.task,
        id: request.id,
        why: end.kind,
        neighbours: member.works.size,
      });
      for (const neighbour of this.#members.kill(member)) {
        this.#runAgain(neighbour, "it was killed at the limit of a neighbour");
      }
    }
    this.onRoomChanged();
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

  // What becomes of attempts and of the room for them, told by the members

  onRoomChanged(): void {
    this.#dispatch();
    this.#options.onChange?.();
  }

  onEnded(attempt: PoolAttempt, end: AttemptEnd): void {
    const wasCancelled = end.kind === "threw" && isCancelled(attempt);
    this.#finish(attempt, wasCancelled ? { kind: "cancelled", started: true } : end);
    this.#dispatch();
  }

  onOwnReady(attempt: PoolAttempt, member: Member<PoolAttempt>): void {
    this.#start(attempt, member);
  }

  onOwnFailed(attempt: PoolAttempt, reason: string): void {
    this.#finish(attempt, { kind: "isolate_died", reason, started: attempt.hasStarted });
    this.#dispatch();
  }

  /** Who was alone in its isolate is to blame for its end; of several, each may be innocent. */
  onHomeless(attempts: readonly PoolAttempt[], reason: string): void {
    if (attempts.length > 1) {
      for (const attempt of attempts) this.#runAgain(attempt, reason);
      return;
    }
    for (const attempt of attempts) {
      this.#finish(
        attempt,
        isCancelled(attempt)
          ? { kind: "cancelled", started: true }
          : { kind: "isolate_died", reason, started: true },
      );
    }
  }

  /** As at a death: who was alone is to blame, and of several each may be innocent. */
  onMemoryExceeded(
    attempts: readonly PoolAttempt[],
    end: Extract<AttemptEnd, { kind: "memory_exceeded" }>,
  ): void {
    if (attempts.length > 1) {
      const reason = `it ran beside others in an isolate that ${memoryExceededText(end)}`;
      for (const attempt of attempts) this.#runAgain(attempt, reason);
      return;
    }
    for (const attempt of attempts) {
      this.#finish(attempt, isCancelled(attempt) ? { kind: "cancelled", started: true } : end);
    }
  }

  // Stopping

  #cancelAll(): void {
    for (const attempt of [...this.#active]) this.#cancel(attempt, "stopping");
  }

  async #shutDown(): Promise<void> {
    this.#members.cancelStart();
    for (const attempt of this.#waiting.all()) {
      if (!attempt.hasStarted) this.#finish(attempt, { kind: "cancelled", started: false });
    }
    if (this.#active.size > 0) {
      await new Promise<void>((resolve) => this.#onIdle = resolve);
    }
    await this.#members.stop();
  }
}
