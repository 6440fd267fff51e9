/** What an isolate does for its attempts by asking the main thread: logging and publishing. */
import type { AttemptFacts, IsolateServices, LogLevel } from "../tasks/running_attempt.ts";
import type { Settings } from "../tasks/registry.ts";
import { clipText, LogBudget, plainFields } from "./log_fields.ts";
import type { FromIsolate, IsolateLog } from "./protocol.ts";

/** Publishes of one isolate that wait for the broker. */
const MAX_PENDING_PUBLISHES = 1_000;

interface PendingPublish {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class InsideServices implements IsolateServices {
  readonly node: string;
  readonly settings: Settings;
  readonly #send: (message: FromIsolate) => void;
  readonly #budget = new LogBudget(() => performance.now());
  readonly #publishes = new Map<number, PendingPublish>();
  #lastPublish = 0;

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

  publish(channel: string, message: unknown): Promise<void> {
    const fail = (reason: string) =>
      Promise.reject(new Error(`Cannot publish on channel ${JSON.stringify(channel)}: ${reason}`));
    if (typeof channel !== "string" || channel === "") {
      return fail("its name must be a text that is not empty");
    }
    const messageJson = JSON.stringify(message ?? null);
    if (messageJson === undefined) return fail("the message must be what JSON carries");
    if (this.#publishes.size >= MAX_PENDING_PUBLISHES) {
      return fail(`${MAX_PENDING_PUBLISHES} messages of this isolate already wait for the broker`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const publish = ++this.#lastPublish;
    this.#publishes.set(publish, { resolve, reject });
    this.#send({ kind: "publish", publish, channel, messageJson });
    return promise;
  }

  /** The main thread's answer to a publish. */
  published(publish: number, error: string | undefined): void {
    const pending = this.#publishes.get(publish);
    this.#publishes.delete(publish);
    if (error === undefined) pending?.resolve();
    else pending?.reject(new Error(error));
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
