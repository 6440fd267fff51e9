/**
 * Writes in the order in which they were asked for, several in one transaction: a commit waits for the
 * disk, and whoever asks meanwhile shares the next one.
 */

export interface TransactionHost {
  /** Runs something in one transaction: all of it, or nothing. */
  transaction<T>(run: () => T): T;
}

/** So long writes are gathered for one transaction; then everybody else has a turn. */
const MAX_GROUP_MS = 5;

interface Write {
  readonly run: () => void;
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

export class WriteQueue {
  readonly #host: TransactionHost;
  #waiting: Write[] = [];
  #isScheduled = false;

  constructor(host: TransactionHost) {
    this.#host = host;
  }

  /** Resolves when what was run is on disk. */
  add<T>(run: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let result: { readonly value: T } | undefined;
      this.#waiting.push({
        run: () => result = { value: run() },
        done: () => result && resolve(result.value),
        fail: reject,
      });
      if (this.#isScheduled) return;
      this.#isScheduled = true;
      setImmediate(() => this.#turn());
    });
  }

  /** Writes all that waits. */
  flush(): void {
    while (this.#waiting.length > 0) this.#writeGroup();
  }

  #turn(): void {
    this.#writeGroup();
    this.#isScheduled = this.#waiting.length > 0;
    if (this.#isScheduled) setImmediate(() => this.#turn());
  }

  #writeGroup(): void {
    const group: Write[] = [];
    try {
      this.#host.transaction(() => {
        const endAt = performance.now() + MAX_GROUP_MS;
        do {
          const write = this.#waiting.shift();
          if (write === undefined) break;
          group.push(write);
          write.run();
        } while (performance.now() < endAt);
      });
    } catch (error) {
      const [only, ...others] = group;
      if (others.length === 0) only?.fail(error);
      // One spoils all: each alone, so that it fails nobody else.
      else for (const write of group) this.#writeAlone(write);
      return;
    }
    for (const write of group) write.done();
  }

  #writeAlone(write: Write): void {
    try {
      this.#host.transaction(write.run);
    } catch (error) {
      return write.fail(error);
    }
    write.done();
  }
}
