/**
 * Gathers what one turn of the event loop sends and hands it to the socket in one write: a system call
 * for each frame would cost more than all the rest. Memory is never written twice, so the socket may
 * keep what it is given for as long as it likes.
 */
import { setImmediate } from "node:timers";

const SLAB_BYTES = 64 * 1024;
/** So much is sent without waiting for the end of the turn. */
const FULL_BYTES = 256 * 1024;

export class Outbox {
  readonly #write: (chunk: Uint8Array, done: () => void) => void;
  #slab = new Uint8Array(SLAB_BYTES);
  /** What is gathered lies from `#start` to `#end` of the slab, behind the full chunks. */
  #start = 0;
  #end = 0;
  #full: Uint8Array[] = [];
  #gatheredBytes = 0;
  #writingBytes = 0;
  #isArmed = false;
  /** Everything gathered so far, in bytes: whether it grew tells that something was sent. */
  totalBytes = 0;

  /** @param write hands a chunk to the socket, which calls back when it has taken it. */
  constructor(write: (chunk: Uint8Array, done: () => void) => void) {
    this.#write = write;
  }

  /** Bytes that the peer has not taken yet. */
  get backlogBytes(): number {
    return this.#gatheredBytes + this.#writingBytes;
  }

  /** Room for the next so many bytes of the stream, to be filled at once. */
  room(bytes: number): Uint8Array {
    if (this.#end + bytes > this.#slab.length) this.#nextSlab(bytes);
    const room = this.#slab.subarray(this.#end, this.#end + bytes);
    this.#end += bytes;
    this.#gatheredBytes += bytes;
    this.totalBytes += bytes;
    if (!this.#isArmed) {
      this.#isArmed = true;
      setImmediate(this.flush);
    } else if (this.#gatheredBytes > FULL_BYTES) {
      // The room is filled before the microtask runs.
      queueMicrotask(this.flush);
    }
    return room;
  }

  /** Sends what is gathered now. */
  readonly flush = (): void => {
    this.#isArmed = false;
    if (this.#gatheredBytes === 0) return;
    const chunks = this.#full;
    if (this.#end > this.#start) chunks.push(this.#slab.subarray(this.#start, this.#end));
    this.#full = [];
    this.#start = this.#end;
    this.#gatheredBytes = 0;
    for (const chunk of chunks) {
      this.#writingBytes += chunk.length;
      this.#write(chunk, () => {
        this.#writingBytes -= chunk.length;
      });
    }
  };

  #nextSlab(bytes: number): void {
    if (this.#end > this.#start) this.#full.push(this.#slab.subarray(this.#start, this.#end));
    this.#slab = new Uint8Array(Math.max(SLAB_BYTES, bytes));
    this.#start = this.#end = 0;
  }
}
