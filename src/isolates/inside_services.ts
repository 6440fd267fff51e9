/** What an isolate does for its attempts by way of the main thread: logging, and asking. */
import type { AskName, AskOrigin, Asks } from "../tasks/asks.ts";
import type { AttemptFacts, IsolateServices, LogLevel } from "../tasks/running_attempt.ts";
import type { Settings } from "../tasks/registry.ts";
import { clipText, LogBudget, plainFields } from "./log_fields.ts";
import type { AskFailure, FromIsolate, IsolateLog } from "./protocol.ts";

/** Questions of one isolate that wait for their answers. */
const MAX_PENDING_ASKS = 1_000;

interface PendingAsk {
  readonly resolve: (answerJson: string) => void;
  readonly reject: (error: Error) => void;
}

export class InsideServices implements IsolateServices {
  readonly node: string;
  readonly settings: Settings;
  readonly #send: (message: FromIsolate) => void;
  readonly #budget = new LogBudget(() => performance.now());
  readonly #asks = new Map<number, PendingAsk>();
  #lastAsk = 0;

  constructor(node: string, settings: Settings, send: (message: FromIsolate) => void) {
    this.node = node;
    this.settings = settings;
    this.#send = send;
  }

  log(
    level: LogLevel,
    message: string,
    fields: Readonly<Record<string, unknown>>,
    { task, id }: AttemptFacts,
  ): void {
    this.#log(() => ({
      level,
      message: clipText(String(message)),
      fields: plainFields(fields),
      task,
      id,
    }));
  }

  /** Tells the log of trouble that no attempt is told of. */
  logProblem(message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#log(() => ({ level: "error", message, fields: plainFields(fields) }));
  }

  async ask<Name extends AskName>(
    what: Name,
    request: Asks[Name]["request"],
    text: string,
    origin: AskOrigin | undefined,
  ): Promise<Asks[Name]["answer"]> {
    if (this.#asks.size >= MAX_PENDING_ASKS) {
      throw new Error(
        `Cannot ask for ${what}: ${MAX_PENDING_ASKS} questions of this isolate already wait`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const ask = ++this.#lastAsk;
    this.#asks.set(ask, { resolve, reject });
    this.#send({
      kind: "ask",
      ask,
      what,
      request,
      ...(origin === undefined ? {} : { origin: { task: origin.task, id: origin.id } }),
      text,
    });
    return JSON.parse(await promise);
  }

  /** The main thread's answer. */
  told(ask: number, answer: { readonly json: string } | { readonly failure: AskFailure }): void {
    const pending = this.#asks.get(ask);
    this.#asks.delete(ask);
    if ("json" in answer) return pending?.resolve(answer.json);
    const error = new Error(answer.failure.message);
    error.name = answer.failure.type;
    pending?.reject(error);
  }

  #log(line: () => IsolateLog): void {
    const taken = this.#budget.take();
    if (!taken.allowed) return;
    if (taken.dropped > 0) {
      this.#send({
        kind: "log",
        log: {
          level: "warn",
          message: "{dropped} log lines were left out: an isolate may log 1000 a second",
          fields: { dropped: taken.dropped },
        },
      });
    }
    this.#send({ kind: "log", log: line() });
  }
}
