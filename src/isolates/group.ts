/**
 * As many ready isolates of one kind as are wanted, and warm spares beside them: who is lost is replaced
 * at once by a spare, and the spare by a new one. Starts that fail are tried again with growing pauses.
 */
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { Backoff } from "../async/backoff.ts";
import type { Member } from "./member.ts";

export interface GroupOptions<Work> {
  /** Most attempts in one member. */
  readonly slots: number;
  readonly spares: number;
  /** Makes and starts a member. */
  readonly open: () => Member<Work>;
  /** A member came to serve. */
  readonly onServing: () => void;
  readonly clock: Clock;
}

/** An isolate that lived so long idle was not in a crash loop. */
const SOUND_LIFE_MS = 10_000;

export class IsolateGroup<Work> {
  readonly #options: GroupOptions<Work>;
  readonly #backoff = new Backoff({ baseMs: 50, capMs: 10_000 });
  readonly #starting = new Set<Member<Work>>();
  readonly #readyAt = new Map<Member<Work>, number>();
  readonly #spares: Member<Work>[] = [];
  #serving: Member<Work>[] = [];
  /** How many should serve; spares come on top. */
  #wanted = 0;
  #pause: Timer | undefined;
  #isStopped = false;

  constructor(options: GroupOptions<Work>) {
    this.#options = options;
  }

  /** Members that take attempts. */
  get serving(): readonly Member<Work>[] {
    return this.#serving;
  }

  get wanted(): number {
    return this.#wanted;
  }

  /** Sets how many should serve, never fewer than before: see `shrink`. */
  want(count: number): void {
    if (count <= this.#wanted) return;
    this.#wanted = count;
    this.#fill();
  }

  /** Wants fewer than before. @returns those that are too many, the least busy, to be retired. */
  shrink(count: number): readonly Member<Work>[] {
    if (count >= this.#wanted) return [];
    this.#wanted = count;
    const byWork = this.#serving.toSorted((a, b) => b.works.size - a.works.size);
    const target = count + this.#options.spares;
    const others = [...this.#spares, ...this.#starting];
    const surplus = [...byWork.slice(count), ...others.slice(Math.max(0, target - count))];
    for (const member of surplus) this.#remove(member);
    return surplus;
  }

  /** The member with the most room, if any has room. */
  leastLoaded(): Member<Work> | undefined {
    let best: Member<Work> | undefined;
    let fewest = this.#options.slots;
    for (const member of this.#serving) {
      const running = member.works.size;
      if (running >= fewest) continue;
      if (running === 0) return member;
      best = member;
      fewest = running;
    }
    return best;
  }

  /** A member of this group got ready. */
  ready(member: Member<Work>): void {
    if (!this.#starting.delete(member)) return;
    this.#readyAt.set(member, this.#options.clock.monotonic());
    this.#spares.push(member);
    this.#promote();
    this.#fill();
  }

  /** It did not get ready: another is tried after a pause. @returns the pause in milliseconds. */
  startFailed(member: Member<Work>): number {
    this.#starting.delete(member);
    return this.#fillLater();
  }

  /** It is gone, or will take nothing more, for a reason of ours or of its work. */
  replace(member: Member<Work>): void {
    if (!this.#remove(member)) return;
    this.#backoff.reset();
    this.#pause?.cancel();
    this.#pause = undefined;
    this.#promote();
    this.#fill();
  }

  /** It ended by itself while it ran nothing: if that goes on, replacing it at once would spin. */
  replaceIdle(member: Member<Work>): void {
    const readyAt = this.#readyAt.get(member);
    if (!this.#remove(member)) return;
    this.#promote();
    const livedMs = this.#options.clock.monotonic() - (readyAt ?? 0);
    if (livedMs >= SOUND_LIFE_MS) {
      this.#backoff.reset();
      this.#fill();
    } else this.#fillLater();
  }

  /** Starts no more and gives up all its members, to be retired or killed by the caller. */
  stop(): readonly Member<Work>[] {
    this.#isStopped = true;
    this.#pause?.cancel();
    this.#pause = undefined;
    const members = [...this.#serving, ...this.#spares, ...this.#starting];
    this.#serving = [];
    this.#spares.length = 0;
    this.#starting.clear();
    this.#readyAt.clear();
    return members;
  }

  #remove(member: Member<Work>): boolean {
    this.#readyAt.delete(member);
    if (this.#serving.includes(member)) {
      this.#serving = this.#serving.filter((other) => other !== member);
      return true;
    }
    const spare = this.#spares.indexOf(member);
    if (spare >= 0) this.#spares.splice(spare, 1);
    return spare >= 0 || this.#starting.delete(member);
  }

  #promote(): void {
    while (this.#serving.length < this.#wanted) {
      const spare = this.#spares.shift();
      if (spare === undefined) return;
      this.#serving.push(spare);
      this.#options.onServing();
    }
  }

  #fill(): void {
    if (this.#isStopped || this.#pause !== undefined) return;
    // Spares wait until somebody serves: who is needed now gets ready first.
    const spares = this.#serving.length > 0 ? this.#options.spares : 0;
    const missing = this.#wanted + spares -
      (this.#serving.length + this.#spares.length + this.#starting.size);
    for (let count = 0; count < missing; count++) this.#starting.add(this.#options.open());
  }

  #fillLater(): number {
    if (this.#isStopped || this.#pause !== undefined) return 0;
    const pauseMs = this.#backoff.next();
    this.#pause = this.#options.clock.after(pauseMs, () => {
      this.#pause = undefined;
      this.#fill();
    });
    return pauseMs;
  }
}
