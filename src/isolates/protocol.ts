/**
 * What the main thread and an isolate say to each other, the same for a Web Worker and a process.
 *
 * Every message is one text: a letter, a head in JSON and, where there is one, a line feed and a body
 * that stays as it is (JSON has no raw line feeds). Posting texts is much cheaper than posting objects
 * (570,000 against 340,000 a second), and a large body is not escaped a second time.
 */
import type { AskOrigin } from "../tasks/asks.ts";
import type { Definitions } from "../tasks/definitions.ts";
import type { InterruptionCause } from "../tasks/errors.ts";
import type { Progress } from "../tasks/progress.ts";
import type { LogLevel } from "../tasks/running_attempt.ts";
import type { AttemptEnd } from "./attempt.ts";
import type { MemoryReport } from "./memory_shares.ts";

/** What an isolate needs before it can run attempts. */
export interface IsolateInit {
  readonly taskPaths: readonly string[];
  readonly demo: boolean;
  readonly nodeId: string;
  /** Its memory counts: it tells what it holds when it is ready, and whenever it is asked. */
  readonly hasMemoryLimit: boolean;
}

/** An attempt as an isolate sees it; the main thread keeps its limits. */
export interface RunHead {
  /** Names this run in later messages; unique in the isolate. */
  readonly run: number;
  readonly id: string;
  readonly task: string;
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

export type ToIsolate =
  | { readonly kind: "init"; readonly init: IsolateInit }
  | { readonly kind: "run"; readonly head: RunHead; readonly body: string }
  /** Aborts `context.signal`. */
  | { readonly kind: "interrupt"; readonly run: number; readonly why: InterruptionCause }
  /** The answer to `ask`. */
  | { readonly kind: "told"; readonly ask: number; readonly answer: Answer }
  /** Collect garbage, then say `measured`. */
  | { readonly kind: "measure" }
  /** No further runs come: tear down, then say `left`. */
  | { readonly kind: "leave" };

/** Why a question was refused, as the asking task sees it. */
export interface AskFailure {
  readonly type: string;
  readonly message: string;
}

/** `json`: the answer as JSON text. */
export type Answer = { readonly json: string } | { readonly failure: AskFailure };

/** A question to the main thread: see src/tasks/asks.ts. */
export interface Ask {
  /** Names it in the answer; unique in the isolate. */
  readonly ask: number;
  readonly what: string;
  readonly request: unknown;
  readonly origin?: AskOrigin;
  readonly text: string;
}

/** The endings that the isolate itself tells, besides `returned`. */
export type ToldEnd = Extract<AttemptEnd, { kind: "threw" | "malformed" | "unknown_task" }>;

/** One line of a task's log. */
export interface IsolateLog {
  readonly level: LogLevel;
  /** Fixed text; `{name}` stands for a field. */
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly task?: string;
  /** The call's or job's id. */
  readonly id?: string;
}

export type FromIsolate =
  | {
    readonly kind: "ready";
    readonly definitions: Definitions;
    readonly warnings: readonly string[];
    readonly memory?: MemoryReport;
  }
  /** It cannot serve: a task file does not load, or a set-up failed. */
  | { readonly kind: "failed"; readonly reason: string; readonly file?: string }
  | {
    readonly kind: "returned";
    readonly run: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly resultJson: string;
  }
  | { readonly kind: "ended"; readonly run: number; readonly end: ToldEnd }
  | { readonly kind: "log"; readonly log: IsolateLog }
  | ({ readonly kind: "ask" } & Ask)
  | { readonly kind: "measured"; readonly memory: MemoryReport }
  | { readonly kind: "progress"; readonly run: number; readonly progress: Progress }
  /** It finishes what it runs and is to be replaced: an error that nobody caught may have hurt it. */
  | { readonly kind: "retire"; readonly reason: string }
  /** It cannot go on, and cannot tell which attempt is to blame. */
  | { readonly kind: "broken"; readonly reason: string }
  | { readonly kind: "left" };

const NO_HEADERS: Readonly<Record<string, string>> = {};

export function encodeToIsolate(message: ToIsolate): string {
  switch (message.kind) {
    case "init":
      return `I${JSON.stringify(message.init)}`;
    case "run": {
      const { run, id, task, attempt, redelivered, headers } = message.head;
      const head = JSON.stringify([run, id, task, attempt, redelivered ? 1 : 0, headers]);
      return `R${head}\n${message.body}`;
    }
    case "interrupt":
      return `X${JSON.stringify([message.run, message.why])}`;
    case "told": {
      const { ask, answer } = message;
      if ("failure" in answer) return `A${JSON.stringify([ask, answer.failure])}`;
      return `A${JSON.stringify([ask])}\n${answer.json}`;
    }
    case "measure":
      return "M[]";
    case "leave":
      return "L[]";
  }
}

export function encodeFromIsolate(message: FromIsolate): string {
  switch (message.kind) {
    case "ready":
      return `Y${JSON.stringify([message.definitions, message.warnings, message.memory])}`;
    case "failed":
      return `F${JSON.stringify([message.reason, message.file ?? null])}`;
    case "returned":
      return `V${encodeReturnedHead(message.run, message.headers)}\n${message.resultJson}`;
    case "ended":
      return `E${JSON.stringify([message.run, message.end])}`;
    case "log":
      return `G${JSON.stringify([message.log])}`;
    case "ask": {
      const { ask, what, request, origin, text } = message;
      return `A${JSON.stringify([ask, what, request, origin])}\n${text}`;
    }
    case "measured":
      return `M${JSON.stringify([message.memory])}`;
    case "progress":
      return `S${JSON.stringify([message.run, message.progress])}`;
    case "retire":
      return `T${JSON.stringify([message.reason])}`;
    case "broken":
      return `B${JSON.stringify([message.reason])}`;
    case "left":
      return "L[]";
  }
}

/** Most results come without headers: their head is a number in brackets. */
function encodeReturnedHead(run: number, headers: Readonly<Record<string, string>>): string {
  for (const _ in headers) return JSON.stringify([run, headers]);
  return `[${run}]`;
}

// Both sides are this same program, so heads have the shapes written above. What code of a task posts
// by itself is no such text: it does not parse, or has no known letter, and gives undefined.

export function decodeToIsolate(text: unknown): ToIsolate | undefined {
  const parts = split(text);
  if (parts === undefined) return undefined;
  const { letter, head, body } = parts;
  switch (letter) {
    case "I":
      return { kind: "init", init: head as IsolateInit };
    case "R": {
      const [run, id, task, attempt, redelivered, headers] = head as [
        number,
        string,
        string,
        number,
        number,
        Record<string, string>,
      ];
      return {
        kind: "run",
        head: { run, id, task, attempt, redelivered: redelivered === 1, headers },
        body,
      };
    }
    case "X": {
      const [run, why] = head as [number, InterruptionCause];
      return { kind: "interrupt", run, why };
    }
    case "A": {
      const [ask, failure] = head as [number, AskFailure?];
      return { kind: "told", ask, answer: failure === undefined ? { json: body } : { failure } };
    }
    case "M":
      return { kind: "measure" };
    case "L":
      return { kind: "leave" };
    default:
      return undefined;
  }
}

export function decodeFromIsolate(text: unknown): FromIsolate | undefined {
  const parts = split(text);
  if (parts === undefined || !Array.isArray(parts.head)) return undefined;
  const { letter, head, body } = parts;
  switch (letter) {
    case "V": {
      const [run, headers = NO_HEADERS] = head as [number, Record<string, string>?];
      return { kind: "returned", run, headers, resultJson: body };
    }
    case "E": {
      const [run, end] = head as [number, ToldEnd];
      return { kind: "ended", run, end };
    }
    case "G": {
      const [log] = head as [IsolateLog];
      return { kind: "log", log };
    }
    case "A": {
      const [ask, what, request, origin] = head as [number, string, unknown, AskOrigin | null];
      return {
        kind: "ask",
        ask,
        what,
        request,
        ...(origin === null ? {} : { origin }),
        text: body,
      };
    }
    case "Y": {
      const [definitions, warnings, memory] = head as [Definitions, string[], MemoryReport | null];
      return { kind: "ready", definitions, warnings, ...(memory === null ? {} : { memory }) };
    }
    case "F": {
      const [reason, file] = head as [string, string | null];
      return { kind: "failed", reason, ...(file === null ? {} : { file }) };
    }
    case "M": {
      const [memory] = head as [MemoryReport];
      return { kind: "measured", memory };
    }
    case "S": {
      const [run, progress] = head as [number, Progress];
      return { kind: "progress", run, progress };
    }
    case "T": {
      const [reason] = head as [string];
      return { kind: "retire", reason };
    }
    case "B": {
      const [reason] = head as [string];
      return { kind: "broken", reason };
    }
    case "L":
      return { kind: "left" };
    default:
      return undefined;
  }
}

function split(
  text: unknown,
): { readonly letter: string; readonly head: unknown; readonly body: string } | undefined {
  if (typeof text !== "string") return undefined;
  const end = text.indexOf("\n");
  try {
    const head: unknown = JSON.parse(end < 0 ? text.slice(1) : text.slice(1, end));
    return { letter: text.charAt(0), head, body: end < 0 ? "" : text.slice(end + 1) };
  } catch {
    return undefined;
  }
}
