/**
 * ADAPTER: the SQLite store in a thread of its own, so that a front goes on answering while the disk
 * takes its time. A commit waits for the disk (an fsync), which on a slow one is a tenth of a second.
 * What is asked and answered is copied between the threads.
 */
import { StoreAwayError, StoreRefusedError } from "../errors.ts";
import type { Store } from "../store.ts";
import { dataFilePath } from "./data_file.ts";
import {
  type Answer,
  errorOf,
  type Opening,
  type Question,
  STORE_METHODS,
  type StoreMethod,
  type StoreMethods,
} from "./thread_protocol.ts";

export interface ThreadedStoreOptions extends Opening {
  /** Address of thread_entry.ts, made in main.ts, where it is right from source and compiled. */
  readonly entryUrl: URL;
}

/** As `SqliteStore`, and each method is carried out in the thread, in the order of the calls. */
export function createThreadedStore({ entryUrl, ...opening }: ThreadedStoreOptions): Store {
  const place = dataFilePath(opening.dataDir);
  const thread = new StoreThread(entryUrl, opening, place);
  return { place, isShared: false, ...methodsOf((method, args) => thread.ask(method, args)) };
}

/** One function for each method that asks for it by name. */
function methodsOf(
  ask: (method: StoreMethod, args: readonly unknown[]) => Promise<unknown>,
): StoreMethods {
  const functions = STORE_METHODS.map((method) =>
    [method, (...args: unknown[]) => ask(method, args)] as const
  );
  return Object.fromEntries(functions) as unknown as StoreMethods;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

type ThreadState =
  | { readonly kind: "unopened" }
  | { readonly kind: "running"; readonly worker: Worker }
  | { readonly kind: "ended"; readonly why: Error };

class StoreThread {
  readonly #entryUrl: URL;
  readonly #opening: Opening;
  readonly #place: string;
  readonly #waiting = new Map<number, Waiting>();
  #number = 0;
  #state: ThreadState = { kind: "unopened" };
  #closing: Promise<void> | undefined;

  constructor(entryUrl: URL, opening: Opening, place: string) {
    this.#entryUrl = entryUrl;
    this.#opening = opening;
    this.#place = place;
  }

  async ask(method: StoreMethod, args: readonly unknown[]): Promise<unknown> {
    if (method === "open" && this.#state.kind === "unopened") this.#state = this.#begin();
    switch (this.#state.kind) {
      case "unopened":
        if (method !== "close") throw this.#notOpen();
        this.#state = { kind: "ended", why: this.#notOpen() };
        return;
      case "ended":
        if (method !== "close") throw this.#state.why;
        return;
      case "running":
        if (method === "close") return await (this.#closing ??= this.#close(this.#state.worker));
        return await this.#send(this.#state.worker, method, args);
    }
  }

  async #close(worker: Worker): Promise<void> {
    await this.#send(worker, "close", []);
    this.#end(this.#notOpen());
  }

  #send(worker: Worker, method: StoreMethod, args: readonly unknown[]): Promise<unknown> {
    const number = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      worker.postMessage({ number, method, args } satisfies Question);
    });
  }

  #begin(): ThreadState {
    const worker = new Worker(this.#entryUrl, { type: "module" });
    let reason = "it exited";
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => this.#answered(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      reason = event.message;
      // What threw is lost with whoever waits for it; SQLite has rolled back what was not committed.
      worker.terminate();
    });
    worker.addEventListener("close", () => {
      this.#end(new StoreRefusedError(`The thread that has ${this.#place} open ended: ${reason}`));
    });
    worker.postMessage(this.#opening);
    return { kind: "running", worker };
  }

  #answered(answer: Answer): void {
    const waiting = this.#waiting.get(answer.number);
    this.#waiting.delete(answer.number);
    if ("error" in answer) waiting?.reject(errorOf(answer.error));
    else waiting?.resolve(answer.value);
  }

  #end(why: Error): void {
    if (this.#state.kind !== "running") return;
    const { worker } = this.#state;
    this.#state = { kind: "ended", why };
    worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(why);
    this.#waiting.clear();
  }

  #notOpen(): StoreAwayError {
    return new StoreAwayError(`The job records in ${this.#place} are not open`);
  }
}
