/**
 * The messages of one queue that wait for a consumer: by priority, within it by id. What expires
 * in the middle leaves a gap that is skipped; what is given back returns to its old place.
 */
import type { Entry } from "./entry.ts";

/** So many gaps or taken places are kept before the array is cut. */
const SLACK = 1024;

class Bucket {
  /** Ordered by id from #head on; an entry that is not "ready" is a gap. */
  #entries: (Entry | undefined)[] = [];
  #head = 0;
  /** Entries that are no gaps. */
  count = 0;

  push(entry: Entry): void {
    const last = this.#entries.at(-1);
    if (last !== undefined && last.id > entry.id) this.#insert(entry);
    else this.#entries.push(entry);
    this.count++;
  }

  peek(): Entry | undefined {
    if (this.count === 0) return undefined;
    let entry = this.#entries[this.#head];
    while (entry?.place !== "ready") {
      this.#entries[this.#head] = undefined;
      entry = this.#entries[++this.#head];
    }
    return entry;
  }

  /** Removes the entry that `peek` has just returned. */
  dropFirst(): void {
    this.#entries[this.#head++] = undefined;
    this.count--;
    this.#tidy();
  }

  /** Called after an entry in here has become a gap. */
  noteGap(): void {
    this.count--;
    this.#tidy();
  }

  /** The entry so many places after the first, or the last one. */
  ahead(places: number): Entry | undefined {
    let found: Entry | undefined;
    for (let at = this.#head, left = places; at < this.#entries.length && left >= 0; at++) {
      const entry = this.#entries[at];
      if (entry?.place !== "ready") continue;
      found = entry;
      left--;
    }
    return found;
  }

  all(): Entry[] {
    return this.#entries.slice(this.#head).filter((entry) => entry?.place === "ready") as Entry[];
  }

  #insert(entry: Entry): void {
    let low = this.#head;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#entries[middle]?.id ?? 0) < entry.id) low = middle + 1;
      else high = middle;
    }
    if (low === this.#head && this.#head > 0) this.#entries[--this.#head] = entry;
    else this.#entries.splice(low, 0, entry);
  }

  #tidy(): void {
    if (this.count === 0) {
      this.#entries.length = 0;
      this.#head = 0;
      return;
    }
    const dead = this.#entries.length - this.count;
    if (dead < SLACK || dead * 2 < this.#entries.length) return;
    this.#entries = this.all();
    this.#head = 0;
  }
}

export class ReadyList {
  readonly #buckets: Bucket[];
  #count = 0;

  constructor(maxPriority: number) {
    this.#buckets = Array.from({ length: maxPriority + 1 }, () => new Bucket());
  }

  get count(): number {
    return this.#count;
  }

  /** Takes an entry whose place is "ready", at the end or at its old place. */
  push(entry: Entry): void {
    this.#bucket(entry.priority).push(entry);
    this.#count++;
  }

  /** The entry that goes out next. */
  peek(): Entry | undefined {
    if (this.#count === 0) return undefined;
    for (let priority = this.#buckets.length - 1; priority >= 0; priority--) {
      const entry = this.#bucket(priority).peek();
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /** Removes the entry that `peek` has just returned. */
  dropFirst(entry: Entry): void {
    this.#bucket(entry.priority).dropFirst();
    this.#count--;
  }

  /** Takes an entry out of the middle: called after its place is no longer "ready". */
  noteGap(entry: Entry): void {
    this.#bucket(entry.priority).noteGap();
    this.#count--;
  }

  /** The entry of this priority that stands so many places behind its first, or the last one. */
  ahead(priority: number, places: number): Entry | undefined {
    return this.#bucket(priority).ahead(places);
  }

  /** All entries, in the order of delivery. */
  all(): Entry[] {
    return this.#buckets.flatMap((bucket) => bucket.all()).sort((a, b) =>
      b.priority - a.priority || a.id - b.id
    );
  }

  #bucket(priority: number): Bucket {
    const bucket = this.#buckets[priority];
    if (bucket === undefined) throw new RangeError(`No bucket for priority ${priority}`);
    return bucket;
  }
}
