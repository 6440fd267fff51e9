/**
 * One isolate in the life that the pool gives it. Knows how it is doing; what that means for attempts
 * is pool.ts, how many there are is group.ts.
 *
 * States: starting → ready → retired → leaving, and from each of them → killed → closed.
 * - starting: loads task files; takes nothing.
 * - ready: takes attempts.
 * - retired: finishes its attempts; takes none.
 * - leaving: no attempts; tears down.
 * - killed: told to end; what it still says is not heard.
 * - closed: its thread or process has ended.
 */
import type { Deadline, Deadlines } from "../async/deadlines.ts";
import type { Clock } from "../lifecycle/clock.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { Definitions } from "../tasks/definitions.ts";
import type { Isolation } from "../tasks/descriptor.ts";
import type { InterruptionCause } from "../tasks/errors.ts";
import type { Progress } from "../tasks/progress.ts";
import type { AttemptEnd } from "./attempt.ts";
import type { Isolate, OpenIsolate } from "./isolate.ts";
import type { MemoryReport } from "./memory_shares.ts";
import {
  type Answer,
  type Ask,
  decodeFromIsolate,
  encodeToIsolate,
  type FromIsolate,
  type IsolateInit,
  type IsolateLog,
  type RunHead,
} from "./protocol.ts";

export type MemberState = "starting" | "ready" | "retired" | "leaving" | "killed" | "closed";

/** Who owns a member is told of all that happens to it. */
export interface MemberEvents<Work> {
  onReady(
    member: Member<Work>,
    definitions: Definitions,
    warnings: readonly string[],
  ): void;
  /** It did not get ready. It is killed already. */
  onStartFailed(member: Member<Work>, reason: string, file: string | undefined): void;
  onEnded(member: Member<Work>, work: Work, end: AttemptEnd): void;
  /** It wants to be replaced; it finishes what it runs. */
  onRetire(member: Member<Work>, reason: string): void;
  /** It ended by itself, or cannot go on. It is killed already; its works are without a home. */
  onDied(member: Member<Work>, reason: string): void;
  /** Its thread or process has ended: nothing of it is left. */
  onClosed(member: Member<Work>): void;
  onLog(member: Member<Work>, log: IsolateLog): void;
  onProgress(member: Member<Work>, work: Work, progress: Progress): void;
  /** It told what it holds: `memory`. */
  onMeasured(member: Member<Work>): void;
  /** It waits for `told`. */
  onAsk(member: Member<Work>, ask: Ask): void;
}

export interface MemberOptions<Work> {
  /** For people: unique in the pool. */
  readonly id: number;
  readonly kind: Isolation;
  readonly open: OpenIsolate;
  readonly init: IsolateInit;
  readonly startTimeoutMs: number;
  readonly teardownMs: number;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly events: MemberEvents<Work>;
}

/** @typeParam Work what the owner keeps for each run. */
export class Member<Work> {
  readonly id: number;
  readonly kind: Isolation;
  /** What runs in it, by run number. Written by `run` and at each run's end. */
  readonly works = new Map<number, Work>();
  readonly #options: MemberOptions<Work>;
  #state: MemberState = "starting";
  #isolate: Isolate | undefined;
  #lastRun = 0;
  #memory: MemoryReport | undefined;
  #firstMemory: MemoryReport | undefined;
  /** The limit for starting, or for tearing down. */
  #limit: Deadline | undefined;

  constructor(options: MemberOptions<Work>) {
    this.id = options.id;
    this.kind = options.kind;
    this.#options = options;
  }

  get state(): MemberState {
    return this.#state;
  }

  /** Of one that is a process of its own. */
  get pid(): number | undefined {
    return this.#isolate?.pid;
  }

  /** What it last told that it holds. */
  get memory(): MemoryReport | undefined {
    return this.#memory;
  }

  /** What it told when it got ready. */
  get firstMemory(): MemoryReport | undefined {
    return this.#firstMemory;
  }

  /** It was killed and has not ended. */
  get isEnding(): boolean {
    return this.#state === "killed";
  }

  /** It takes nothing more. */
  get isRetired(): boolean {
    return this.#state === "retired" || this.#state === "leaving";
  }

  /** How many runs it was ever given. */
  get served(): number {
    return this.#lastRun;
  }

  /** Starts it; `onReady` or `onStartFailed` follows, never from within this call. */
  start(): void {
    const { open, init, startTimeoutMs } = this.#options;
    this.#limitAfter(startTimeoutMs, () => {
      this.#startFailed(`it did not get ready within ${formatDuration(startTimeoutMs)}`, undefined);
    });
    try {
      this.#isolate = open({
        onMessage: (text) => this.#receive(text),
        onClose: (reason) => this.#closed(reason),
      });
      this.#isolate.send(encodeToIsolate({ kind: "init", init }));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#limitAfter(0, () => {
        this.#startFailed(reason, undefined);
        this.#closed(reason);
      });
    }
  }

  /** Hands it a run. Only while it is ready. @returns the run's number. */
  run(work: Work, head: Omit<RunHead, "run">, body: string): number {
    const run = ++this.#lastRun;
    this.works.set(run, work);
    const { id, task, attempt, redelivered, headers } = head;
    this.#isolate?.send(encodeToIsolate({
      kind: "run",
      head: { run, id, task, attempt, redelivered, headers },
      body,
    }));
    return run;
  }

  interrupt(run: number, why: InterruptionCause): void {
    this.#isolate?.send(encodeToIsolate({ kind: "interrupt", run, why }));
  }

  /** Asks it to collect its garbage and to tell what it holds; `onMeasured` follows. */
  measure(): void {
    if (this.#state === "killed" || this.#state === "closed") return;
    this.#isolate?.send(encodeToIsolate({ kind: "measure" }));
  }

  /** Answers a question. */
  told(ask: number, answer: Answer): void {
    if (this.#state === "killed" || this.#state === "closed") return;
    this.#isolate?.send(encodeToIsolate({ kind: "told", ask, answer }));
  }

  /** No longer counts on this run: its answer, should it still come, is not heard. */
  forget(run: number): void {
    this.works.delete(run);
    this.#leaveIfDone();
  }

  /** Takes nothing more; tears down and ends once its works are over. */
  retire(): void {
    if (this.#state === "starting") return this.kill();
    if (this.#state !== "ready") return;
    this.#state = "retired";
    this.#leaveIfDone();
  }

  /** It is not to get ready any more; `onStartFailed` follows at once. */
  failStart(reason: string): void {
    this.#startFailed(reason, undefined);
  }

  /** Ends it now. Its works are the owner's to deal with. */
  kill(): void {
    if (this.#state === "killed" || this.#state === "closed") return;
    this.#state = "killed";
    this.#clearLimit();
    this.#isolate?.kill();
  }

  #leaveIfDone(): void {
    if (this.#state !== "retired" || this.works.size > 0) return;
    this.#state = "leaving";
    this.#limitAfter(this.#options.teardownMs, () => this.kill());
    this.#isolate?.send(encodeToIsolate({ kind: "leave" }));
  }

  #receive(text: string): void {
    if (this.#state === "killed" || this.#state === "closed") return;
    const message = decodeFromIsolate(text);
    // Whatever else a task's code may post to its parent is not for us.
    if (message !== undefined) this.#handle(message);
  }

  #handle(message: FromIsolate): void {
    const { events } = this.#options;
    switch (message.kind) {
      case "returned":
        return this.#ended(message.run, {
          kind: "returned",
          resultJson: message.resultJson,
          headers: message.headers,
        });
      case "ended":
        return this.#ended(message.run, message.end);
      case "log":
        return events.onLog(this, message.log);
      case "progress": {
        const work = this.works.get(message.run);
        return work && events.onProgress(this, work, message.progress);
      }
      case "ask":
        return events.onAsk(this, message);
      case "ready":
        if (this.#state !== "starting") return;
        this.#state = "ready";
        this.#memory = this.#firstMemory = message.memory;
        this.#clearLimit();
        return events.onReady(this, message.definitions, message.warnings);
      case "measured":
        this.#memory = message.memory;
        return events.onMeasured(this);
      case "failed":
        return this.#startFailed(message.reason, message.file);
      case "retire":
        return events.onRetire(this, message.reason);
      case "broken":
        this.kill();
        return events.onDied(this, message.reason);
      case "left":
        return this.kill();
    }
  }

  #ended(run: number, end: AttemptEnd): void {
    const work = this.works.get(run);
    if (work === undefined) return;
    this.works.delete(run);
    this.#options.events.onEnded(this, work, end);
    this.#leaveIfDone();
  }

  #startFailed(reason: string, file: string | undefined): void {
    if (this.#state !== "starting") return;
    this.kill();
    this.#options.events.onStartFailed(this, reason, file);
  }

  #closed(reason: string): void {
    const before = this.#state;
    if (before === "closed") return;
    if (before === "starting") this.#startFailed(reason, undefined);
    this.#state = "closed";
    this.#clearLimit();
    const { events } = this.#options;
    if (before === "ready" || before === "retired") events.onDied(this, reason);
    events.onClosed(this);
  }

  #limitAfter(limitMs: number, expire: () => void): void {
    const { clock, deadlines } = this.#options;
    this.#clearLimit();
    this.#limit = deadlines.set(clock.monotonic() + limitMs, expire);
  }

  #clearLimit(): void {
    if (this.#limit) this.#options.deadlines.cancel(this.#limit);
    this.#limit = undefined;
  }
}
