/**
 * The contents of waiting messages: how many bytes are in memory, which of them may stay on disk
 * alone, and when the broker takes no more. Knows nothing of order or of queues.
 */
import type { Message } from "../message.ts";
import type { Entry } from "./entry.ts";

export interface ShelfOptions {
  /** Past this, messages that are on disk leave memory until they are asked for. */
  readonly comfortableBytes: number;
  /** Past this, nothing more is taken for shared queues. */
  readonly maxBytes: number;
  /** Reads a message's content from disk. @throws Error when it cannot be read. */
  readonly load: (id: number) => Message;
  /** The broker takes no more (why), or takes messages again (undefined). */
  readonly onFull: (reason: string | undefined) => void;
}

/** It takes messages again when so much of the limit is free. */
const FREE_SHARE = 0.1;
const MIB = 1024 * 1024;

export class Shelf {
  readonly #options: ShelfOptions;
  #residentBytes = 0;
  #isFull = false;

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  get residentBytes(): number {
    return this.#residentBytes;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** An entry has come in, with its content. */
  note(entry: Entry): void {
    this.#residentBytes += entry.sizeBytes;
    if (this.#residentBytes > this.#options.maxBytes && !this.#isFull) this.#tell(true);
  }

  /** An entry is done with. */
  release(entry: Entry): void {
    if (entry.message === undefined) return;
    entry.message = undefined;
    this.#residentBytes -= entry.sizeBytes;
    if (!this.#isFull) return;
    if (this.#residentBytes <= this.#options.maxBytes * (1 - FREE_SHARE)) this.#tell(false);
  }

  /** These are on disk now: those that wait may leave memory. */
  evict(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (this.#residentBytes <= this.#options.comfortableBytes) return;
      if (entry.place === "ready") this.release(entry);
    }
  }

  /** The content of an entry that left memory; `unreadable` where the disk does not give it. */
  fetch(entry: Entry): { readonly message: Message; readonly unreadable?: string } {
    if (entry.message !== undefined) return { message: entry.message };
    try {
      const message = this.#options.load(entry.id);
      entry.message = message;
      this.#residentBytes += entry.sizeBytes;
      return { message };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const { name } = entry.home;
      const message = { exchange: "", routingKey: name, properties: {}, body: new Uint8Array(0) };
      return { message, unreadable: `Cannot read it from disk: ${reason}` };
    }
  }

  #tell(isFull: boolean): void {
    this.#isFull = isFull;
    const limit = Math.round(this.#options.maxBytes / MIB);
    this.#options.onFull(isFull ? `waiting messages fill their ${limit} MiB of memory` : undefined);
  }
}
