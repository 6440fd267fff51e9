/** Runs attempts inside an isolate: arguments in, the task's function, its ending out. */
import { type CheckedInput, checkInput, readArguments } from "../tasks/arguments.ts";
import { type InterruptionCause, Reject, Retry } from "../tasks/errors.ts";
import { describeFailure } from "../tasks/failure.ts";
import type { Progress } from "../tasks/progress.ts";
import type { Runnable, TaskRegistry } from "../tasks/registry.ts";
import { encodeHeaders, encodeResult } from "../tasks/result.ts";
import { type IsolateServices, runAttempt, RunningAttempt } from "../tasks/running_attempt.ts";
import type { FromIsolate, RunHead, ToldEnd } from "./protocol.ts";

export class InsideAttempts {
  readonly #registry: TaskRegistry;
  readonly #services: IsolateServices;
  readonly #send: (message: FromIsolate) => void;
  /** What runs now. Who is no longer in it has been answered. */
  readonly #running = new Map<number, RunningAttempt>();

  constructor(
    registry: TaskRegistry,
    services: IsolateServices,
    send: (message: FromIsolate) => void,
  ) {
    this.#registry = registry;
    this.#services = services;
    this.#send = send;
  }

  get runningTasks(): readonly string[] {
    return [...this.#running.values()].map(({ facts }) => facts.task);
  }

  /** Starts an attempt. Nothing is awaited that need not be: most tasks end within this call. */
  run(head: RunHead, body: string): void {
    const task = this.#registry.runnable(head.task);
    if (task === undefined) return this.#tell(head.run, { kind: "unknown_task" });
    const { read: readBody = readArguments } = task;
    const read = readBody(body);
    if (read.kind === "malformed") return this.#tell(head.run, read);
    const attempt = new RunningAttempt(head, this.#services, this.#onProgress);
    this.#running.set(head.run, attempt);
    runAttempt(attempt, () => this.#perform(head.run, attempt, task, read.values));
  }

  interrupt(run: number, why: InterruptionCause): void {
    const attempt = this.#running.get(run);
    if (attempt) runAttempt(attempt, () => attempt.interrupt(why));
  }

  /** Ends an attempt with an error from outside its function. False when it had ended before. */
  fail(attempt: RunningAttempt, error: unknown): boolean {
    const run = this.#runOf(attempt);
    if (run !== undefined) this.#threw(run, attempt, error);
    return run !== undefined;
  }

  #perform(run: number, attempt: RunningAttempt, task: Runnable, values: unknown[]): void {
    const returned = (result: unknown) => this.#returned(run, attempt, result);
    const threw = (error: unknown) => this.#threw(run, attempt, error);
    try {
      if (task.input === undefined) return settle(task.run(...values), returned, threw);
      const checked = checkInput(task.input, values);
      settle(checked, (input: CheckedInput) => {
        if (input.kind === "invalid") return this.#refused(run, attempt, input);
        settle(task.run(input.value), returned, threw);
      }, threw);
    } catch (error) {
      threw(error);
    }
  }

  #returned(run: number, attempt: RunningAttempt, result: unknown): void {
    if (this.#running.get(run) !== attempt) return;
    const { task } = attempt.facts;
    const resultJson = encodeResult(task, result);
    const headers = encodeHeaders(task, attempt.headers);
    attempt.end();
    this.#running.delete(run);
    this.#send({ kind: "returned", run, headers, resultJson });
  }

  #threw(run: number, attempt: RunningAttempt, thrown: unknown): void {
    if (this.#running.get(run) !== attempt) return;
    attempt.end();
    this.#end(run, {
      kind: "threw",
      error: describeFailure(thrown),
      headers: headersOfFailure(attempt),
      ...(thrown instanceof Retry
        ? { retry: thrown.afterMs === undefined ? {} : { afterMs: thrown.afterMs } }
        : {}),
      ...(thrown instanceof Reject ? { rejected: true } : {}),
    });
  }

  #refused(
    run: number,
    attempt: RunningAttempt,
    { issues }: Extract<CheckedInput, { kind: "invalid" }>,
  ): void {
    const first = issues[0];
    const place = first && first.path.length > 0 ? ` at ${first.path.join(".")}` : "";
    const message = `The input of task ${JSON.stringify(attempt.facts.task)} is invalid` +
      (first ? `${place}: ${first.message}` : "");
    this.#end(run, {
      kind: "threw",
      error: { type: "InvalidInput", message, issues },
      headers: {},
      rejected: true,
    });
  }

  #end(run: number, end: ToldEnd): void {
    this.#running.delete(run);
    this.#tell(run, end);
  }

  readonly #onProgress = (attempt: RunningAttempt, progress: Progress) => {
    const run = this.#runOf(attempt);
    if (run !== undefined) this.#send({ kind: "progress", run, progress });
  };

  /** The number of a run that has not been answered. */
  #runOf(attempt: RunningAttempt): number | undefined {
    for (const [run, candidate] of this.#running) if (candidate === attempt) return run;
    return undefined;
  }

  #tell(run: number, end: ToldEnd): void {
    this.#send({ kind: "ended", run, end });
  }
}

/** Headers of a task that failed travel too, but bad ones do not hide why it failed. */
function headersOfFailure({ facts, headers }: RunningAttempt): Readonly<Record<string, string>> {
  try {
    return encodeHeaders(facts.task, headers);
  } catch {
    return {};
  }
}

/** Goes on with a value: at once when it is there, later when it is promised. */
function settle<T>(
  value: T | PromiseLike<T>,
  onValue: (value: T) => void,
  onError: (error: unknown) => void,
): void {
  if (!isPromiseLike(value)) return onValue(value);
  Promise.resolve(value).then((settled) => {
    try {
      onValue(settled);
    } catch (error) {
      onError(error);
    }
  }, onError);
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return (typeof value === "object" || typeof value === "function") && value !== null &&
    "then" in value && typeof value.then === "function";
}
