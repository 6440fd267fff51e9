/**
 * Keeps one process within its memory limit: the program's own with all its Web Workers, or one process
 * isolate. It looks at what the process holds, asks its isolates, and decides who has to go; how they
 * go is pool_memory.ts.
 *
 * Phases: calm → asking → calm, or holding off → calm.
 * - calm: nothing to do, or asked not long ago.
 * - asking: the isolates collect their garbage and tell what they hold. That may be enough; past the
 *   limit the one that holds most is killed.
 * - holding off: one was killed, and its memory comes back (seen: after 100 to 300 ms). Nobody else
 *   has to go for it meanwhile.
 */
import { type Largest, largestHolder, type MemoryReport } from "./memory_shares.ts";

/** An isolate, as far as its memory goes. */
export interface Holder {
  /** What it told last. */
  readonly memory: MemoryReport | undefined;
  /** What it told when it was ready: less than that it will never hold. */
  readonly firstMemory: MemoryReport | undefined;
  /** It was killed and its thread has not ended. */
  readonly isEnding: boolean;
  /** It has been told to take no more, or will not live long anyway. */
  readonly isRetired: boolean;
  /** Asks it to collect its garbage and to tell what it holds. */
  measure(): void;
}

/** What a guard looks at, and what it can do about it. */
export interface Guarded<H extends Holder> {
  /** What the process holds now; undefined where nobody can tell. */
  usedBytes(): number | undefined;
  /** What it held before it had isolates; 0 where it is itself one. */
  readonly restBytes: number;
  /** What its main thread's JavaScript holds more than at rest. */
  mainBytes(): number;
  /** As a thread's; 0 where the process is itself an isolate. */
  mainFaults(): number;
  /** Isolates whose threads have not ended. */
  holders(): readonly H[];
  /** Of an isolate's thread; see `pageFaultsOf`. */
  faultsOf(holder: H): number;
  /** The main thread gives back what it can. */
  collect(): void;
  /** It must go now. */
  kill(holder: H, excess: MemoryExcess): void;
  /** It holds much, perhaps more each time: it is to be replaced when what it runs is over. */
  replace(holder: H, heldBytes: number): void;
  /** It is past the limit, and to kill an isolate would not help. */
  tellHelpless(largest: Exclude<Largest<H>, { kind: "isolate" }>, usedBytes: number): void;
}

/** What an attempt is told that had to end for it. */
export interface MemoryExcess {
  readonly limitBytes: number;
  /** What the process held. */
  readonly usedBytes: number;
  /** What the isolate held of it, estimated. */
  readonly heldBytes: number;
}

type Phase<H> =
  | { readonly kind: "calm"; readonly askAgainAt: number }
  | {
    readonly kind: "asking";
    readonly askedAt: number;
    readonly usedBytes: number;
    /** Who has not answered. */
    readonly silent: Set<H>;
  }
  | {
    readonly kind: "holding_off";
    readonly until: number;
    /** Past that, somebody else goes on taking memory. */
    readonly mostBytes: number;
  };

/** Above this part of the limit isolates are asked to collect their garbage. */
const HIGH = 0.75;
/** How soon to ask again where it was of no use: a collection may cost an isolate 50 ms. */
const ASK_EVERY_MS = 2_000;
/** How often pages are counted while there is memory enough. */
const COUNT_EVERY_MS = 1_000;
/** An isolate whose event loop is free answers within a few milliseconds; collecting may take 50. */
const ANSWER_MS = 60;
/** The runtime gives back what was collected within about so long. */
const GIVE_BACK_MS = 250;
/** How long the memory of a killed isolate may take to come back. */
const HOLD_OFF_MS = 1_500;
/** How soon to look again. */
const LOOK_MS = { calm: 50, tense: 20 } as const;

export class MemoryGuard<H extends Holder> {
  readonly #limitBytes: number;
  readonly #guarded: Guarded<H>;
  #phase: Phase<H> = { kind: "calm", askAgainAt: 0 };
  /** Nobody could be killed for it: told once, until it is over. */
  #isHelpless = false;
  /** Pages that threads had taken when there was last memory enough. */
  #faults = new Map<H, number>();
  #mainFaults = 0;
  #countedAt = -Infinity;

  constructor(limitBytes: number, guarded: Guarded<H>) {
    this.#limitBytes = limitBytes;
    this.#guarded = guarded;
  }

  /** Looks once. @returns after how many milliseconds to look again. */
  look(nowMs: number): number {
    const usedBytes = this.#guarded.usedBytes();
    if (usedBytes === undefined) return LOOK_MS.calm;
    const isPlenty = usedBytes <= this.#limitBytes * HIGH;
    if (isPlenty) {
      this.#isHelpless = false;
      this.#countFaults(nowMs);
    }
    this.#phase = this.#next(this.#phase, usedBytes, nowMs);
    return this.#phase.kind === "calm" && isPlenty ? LOOK_MS.calm : LOOK_MS.tense;
  }

  /** An isolate has told what it holds. */
  answered(holder: H): void {
    if (this.#phase.kind === "asking") this.#phase.silent.delete(holder);
  }

  #next(phase: Phase<H>, usedBytes: number, nowMs: number): Phase<H> {
    const isOver = usedBytes > this.#limitBytes;
    switch (phase.kind) {
      case "calm": {
        const mayWait = !isOver || this.#isHelpless;
        if (usedBytes <= this.#limitBytes * HIGH) return phase;
        return mayWait && nowMs < phase.askAgainAt ? phase : this.#ask(usedBytes, nowMs);
      }
      case "asking": {
        const tookMs = nowMs - phase.askedAt;
        if (isOver) {
          // Who takes memory fast is stopped soon; else what was collected may still come back.
          const isGrowing = usedBytes > phase.usedBytes + this.#limitBytes / 16;
          const isDue = tookMs >= (isGrowing ? ANSWER_MS : GIVE_BACK_MS);
          return isDue ? this.#judge(phase.silent, usedBytes, nowMs) : phase;
        }
        if (phase.silent.size > 0 && tookMs < GIVE_BACK_MS) return phase;
        if (tookMs < ANSWER_MS) return phase;
        const isOfUse = usedBytes <= this.#limitBytes * HIGH || this.#replaceLargest(phase.silent);
        return { kind: "calm", askAgainAt: nowMs + (isOfUse ? GIVE_BACK_MS : ASK_EVERY_MS) };
      }
      case "holding_off":
        if (!isOver) return { kind: "calm", askAgainAt: 0 };
        return nowMs >= phase.until || usedBytes > phase.mostBytes
          ? this.#ask(usedBytes, nowMs)
          : phase;
    }
  }

  #ask(usedBytes: number, nowMs: number): Phase<H> {
    const holders = this.#guarded.holders();
    for (const holder of holders) holder.measure();
    this.#guarded.collect();
    return { kind: "asking", askedAt: nowMs, usedBytes, silent: new Set(holders) };
  }

  #judge(silent: ReadonlySet<H>, usedBytes: number, nowMs: number): Phase<H> {
    const limitBytes = this.#limitBytes;
    const largest = largestHolder({
      usedBytes,
      restBytes: this.#guarded.restBytes,
      mainBytes: this.#guarded.mainBytes(),
      mainFaults: Math.max(0, this.#guarded.mainFaults() - this.#mainFaults),
      holders: this.#guarded.holders().map((holder) => ({
        holder,
        reportedBytes: holder.memory?.heapBytes ?? 0,
        isSilent: silent.has(holder),
        faults: Math.max(0, this.#guarded.faultsOf(holder) - (this.#faults.get(holder) ?? 0)),
      })),
    }, limitBytes / 16);
    if (largest.kind === "isolate") {
      const { holder, heldBytes } = largest;
      const mostBytes = usedBytes + limitBytes / 8;
      // It was killed already, and native code holds it.
      if (holder.isEnding) {
        return { kind: "holding_off", until: nowMs + GIVE_BACK_MS, mostBytes };
      }
      this.#guarded.kill(holder, { limitBytes, usedBytes, heldBytes });
      return { kind: "holding_off", until: nowMs + HOLD_OFF_MS, mostBytes };
    }
    if (!this.#isHelpless) {
      this.#isHelpless = true;
      this.#guarded.tellHelpless(largest, usedBytes);
    }
    return { kind: "calm", askAgainAt: nowMs + ASK_EVERY_MS };
  }

  /**
   * Before anybody has to be killed: an isolate that has grown is replaced in peace.
   * @returns whether one is on its way.
   */
  #replaceLargest(silent: ReadonlySet<H>): boolean {
    let largest: H | undefined;
    for (const holder of this.#guarded.holders()) {
      if (silent.has(holder)) continue;
      if (heldBy(holder) > (largest ? heldBy(largest) : 0)) largest = holder;
    }
    if (largest === undefined) return false;
    const grownBytes = heldBy(largest) - (largest.firstMemory?.heapBytes ?? 0);
    if (grownBytes < this.#limitBytes / 8) return false;
    if (!largest.isRetired) this.#guarded.replace(largest, heldBy(largest));
    return true;
  }

  #countFaults(nowMs: number): void {
    if (nowMs < this.#countedAt + COUNT_EVERY_MS) return;
    this.#countedAt = nowMs;
    this.#mainFaults = this.#guarded.mainFaults();
    this.#faults = new Map(
      this.#guarded.holders().map((holder) => [holder, this.#guarded.faultsOf(holder)]),
    );
  }
}

function heldBy({ memory }: Holder): number {
  return memory?.heapBytes ?? 0;
}
