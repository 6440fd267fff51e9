/**
 * The memory limit of a pool: one guard for the program's own process with its Web Workers, and one for
 * each process isolate, which is a process of its own under the same limit. When to do what is
 * memory_guard.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { collectSoon } from "../platform/garbage.ts";
import { heapBytes, memoryBytesOf, ownMemoryBytes, pageFaultsOf } from "../platform/memory.ts";
import type { Member } from "./member.ts";
import { type Guarded, type MemoryExcess, MemoryGuard } from "./memory_guard.ts";
import { mebibytes } from "./memory_text.ts";
import type { PoolAttempt } from "./pool_attempt.ts";

const log = getLogger(["coxswain", "isolates"]);

type PoolMember = Member<PoolAttempt>;
type Guard = MemoryGuard<PoolMember>;

/** Memory of a Web Worker besides its JavaScript (seen: 2.5 MB each). */
const WORKER_BYTES = 3 * 2 ** 20;
/** Of the limit, what a node may need before it has done anything. */
const REST = 0.75;

export interface PoolMemoryOptions {
  readonly limitBytes: number;
  readonly clock: Clock;
  /** Those whose thread or process has not ended. */
  readonly alive: () => Iterable<PoolMember>;
  /** It held most of a process that is past the limit. */
  readonly kill: (member: PoolMember, excess: MemoryExcess) => void;
  /** It has grown much: better replaced before anybody has to be killed. */
  readonly replace: (member: PoolMember, reason: string) => void;
}

export class PoolMemory {
  readonly #options: PoolMemoryOptions;
  #program: Guard | undefined;
  /** Of process isolates that have been looked at. */
  readonly #processes = new Map<PoolMember, Guard>();
  #timer: Timer | undefined;

  constructor(options: PoolMemoryOptions) {
    this.#options = options;
  }

  /** Called while there are no isolates yet: what is held now is nobody's. */
  start(): void {
    this.#program = new MemoryGuard(this.#options.limitBytes, this.#programFacts());
    this.#look();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#program = undefined;
  }

  /**
   * Why the limit cannot be kept, told when the first isolate is ready; undefined where it can be.
   * @param others how many more isolates there will be.
   */
  objection(first: PoolMember, others: number): string | undefined {
    const { limitBytes } = this.#options;
    const each = (first.firstMemory?.heapBytes ?? 0) + WORKER_BYTES;
    const restBytes = ownMemoryBytes() + others * each;
    if (restBytes <= limitBytes * REST) return undefined;
    return `Cannot keep to --max-memory ${mebibytes(limitBytes)}: this node needs about ` +
      `${mebibytes(restBytes)} at rest, and its tasks need room: give at least ` +
      mebibytes(Math.ceil(restBytes / REST / 2 ** 20) * 2 ** 20);
  }

  /** It told what it holds. */
  measured(member: PoolMember): void {
    if (member.kind === "worker") this.#program?.answered(member);
    else this.#processes.get(member)?.answered(member);
  }

  closed(member: PoolMember): void {
    this.#processes.delete(member);
  }

  #look(): void {
    if (this.#program === undefined) return;
    const now = this.#options.clock.monotonic();
    let againMs = this.#program.look(now);
    for (const member of this.#options.alive()) {
      if (member.kind !== "process" || member.isEnding) continue;
      againMs = Math.min(againMs, this.#guardOf(member).look(now));
    }
    this.#timer = this.#options.clock.after(againMs, () => this.#look());
  }

  #guardOf(member: PoolMember): Guard {
    const known = this.#processes.get(member);
    if (known) return known;
    const guard = new MemoryGuard(this.#options.limitBytes, this.#processFacts(member));
    this.#processes.set(member, guard);
    return guard;
  }

  #programFacts(): Guarded<PoolMember> {
    const { alive, kill, limitBytes } = this.#options;
    const mainAtRest = heapBytes();
    return {
      restBytes: ownMemoryBytes(),
      usedBytes: ownMemoryBytes,
      mainBytes: () => Math.max(0, heapBytes() - mainAtRest),
      mainFaults: () => pageFaultsOf(process.pid) ?? 0,
      holders: () => [...alive()].filter(({ kind }) => kind === "worker"),
      faultsOf,
      collect: collectSoon,
      kill,
      replace: (member, heldBytes) => this.#replace(member, heldBytes),
      tellHelpless: (largest, usedBytes) => {
        log.error(
          "This process holds {used}, more than --max-memory {limit}, and {why}: no isolate is " +
            "killed for it",
          {
            used: mebibytes(usedBytes),
            limit: mebibytes(limitBytes),
            why: largest.kind === "main"
              ? `its main thread holds most of it (${mebibytes(largest.heldBytes)})`
              : "no isolate holds much of it",
          },
        );
      },
    };
  }

  #processFacts(member: PoolMember): Guarded<PoolMember> {
    return {
      restBytes: 0,
      usedBytes: () => member.pid === undefined ? undefined : memoryBytesOf(member.pid),
      mainBytes: () => 0,
      mainFaults: () => 0,
      holders: () => [member],
      faultsOf: () => 0,
      collect: () => {},
      // All that the process holds is the isolate's.
      kill: (one, excess) => this.#options.kill(one, { ...excess, heldBytes: excess.usedBytes }),
      replace: (one, heldBytes) => this.#replace(one, heldBytes),
      // It has the one isolate, which holds all.
      tellHelpless: () => {},
    };
  }

  #replace(member: PoolMember, heldBytes: number): void {
    const { limitBytes, replace } = this.#options;
    replace(
      member,
      `it holds ${mebibytes(heldBytes)}, and memory is short (--max-memory ${
        mebibytes(limitBytes)
      })`,
    );
  }
}

function faultsOf({ memory }: PoolMember): number {
  return memory?.thread === undefined ? 0 : pageFaultsOf(memory.thread) ?? 0;
}
