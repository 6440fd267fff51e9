/**
 * One attempt as it runs in an isolate: the state behind `context`, carried to wherever the task's code
 * goes by AsyncLocalStorage. Not how it was asked for or how it is answered (src/isolates).
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { AskName, AskOrigin, Asks } from "./asks.ts";
import { Interruption, type InterruptionCause } from "./errors.ts";
import { type Progress, ProgressReporter, readProgress } from "./progress.ts";
import type { Settings } from "./registry.ts";

export interface AttemptFacts {
  readonly id: string;
  readonly task: string;
  readonly attempt: number;
  readonly redelivered: boolean;
  /** Headers that came with the request. */
  readonly headers: Readonly<Record<string, string>>;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** What an isolate does for all its attempts. */
export interface IsolateServices {
  readonly node: string;
  readonly settings: Settings;
  log(
    level: LogLevel,
    message: string,
    fields: Readonly<Record<string, unknown>>,
    attempt: AttemptFacts,
  ): void;
  /**
   * Asks the main thread.
   * @param text goes along as it is.
   * @throws Error with the name and message that the main thread's refusal had, or because too many
   *   questions of this isolate wait already.
   */
  ask<Name extends AskName>(
    what: Name,
    request: Asks[Name]["request"],
    text: string,
    origin: AskOrigin | undefined,
  ): Promise<Asks[Name]["answer"]>;
}

export class RunningAttempt {
  readonly facts: AttemptFacts;
  readonly #onProgress: (attempt: RunningAttempt, progress: Progress) => void;
  readonly services: IsolateServices;
  /** What travels back beside the result; the task writes it. */
  readonly headers: Record<string, string> = {};
  #controller: AbortController | undefined;
  #interruption: Interruption | undefined;
  #progress: ProgressReporter | undefined;
  #whenOver: (() => void)[] | undefined;

  constructor(
    facts: AttemptFacts,
    services: IsolateServices,
    onProgress: (attempt: RunningAttempt, progress: Progress) => void,
  ) {
    this.facts = facts;
    this.#onProgress = onProgress;
    this.services = services;
  }

  /** Made when first asked for: most tasks never look at it. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#interruption && !this.#controller.signal.aborted) {
      this.#controller.abort(this.#interruption);
    }
    return this.#controller.signal;
  }

  /** @throws Error when the fraction or the message cannot be told. */
  report(fraction: unknown, message: unknown): void {
    const progress = readProgress(fraction, message);
    this.#progress ??= new ProgressReporter((latest) => this.#onProgress(this, latest));
    this.#progress.report(progress);
  }

  /** Calls back when its function has ended: for what must not outlive it. */
  whenOver(callback: () => void): void {
    (this.#whenOver ??= []).push(callback);
  }

  /** Its function has ended: nothing more is told of its progress. */
  end(): void {
    this.#progress?.end();
    for (const callback of this.#whenOver?.splice(0) ?? []) callback();
  }

  /** Aborts the signal; only the first reason counts. */
  interrupt(why: InterruptionCause): void {
    this.#interruption ??= new Interruption(why);
    this.#controller?.abort(this.#interruption);
  }
}

const storage = new AsyncLocalStorage<RunningAttempt>();

/** Runs a function, and all that it starts, as part of an attempt. */
export function runAttempt<T>(attempt: RunningAttempt, run: () => T): T {
  return storage.run(attempt, run);
}

/** The attempt that the running code belongs to, if any. */
export function currentAttempt(): RunningAttempt | undefined {
  return storage.getStore();
}
