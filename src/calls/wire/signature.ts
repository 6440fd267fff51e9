/**
 * Celery's signatures, which say what is to run after a task: parsed from the third element of a body
 * (`{callbacks, errbacks, chain, chord}`) into a tree. What they become is canvas.ts.
 * https://docs.celeryq.dev/en/stable/userguide/canvas.html, and celery/canvas.py of 5.2.
 */
import type { HeaderValue } from "../../broker/message.ts";
import { parseExactly } from "../exact_json.ts";
import { elementTexts, isNestedDeeper } from "./json_elements.ts";

/** What a signature says of how its task is to be published. */
export interface SignatureOptions {
  readonly taskId?: string;
  readonly replyTo?: string;
  readonly queue?: string;
  readonly exchange?: string;
  readonly routingKey?: string;
  readonly priority?: number;
  /** An instant (ISO 8601), or seconds from the publication on. */
  readonly expires?: string | number;
  readonly eta?: string;
  readonly countdownSeconds?: number;
  readonly hardSeconds?: number;
  readonly softSeconds?: number;
  readonly ignoreResult?: boolean;
  readonly shadow?: string;
  readonly headers?: Readonly<Record<string, HeaderValue>>;
  readonly groupId?: string;
  /** Signatures as they came. */
  readonly link?: readonly unknown[];
  readonly linkError?: readonly unknown[];
}

interface SignatureBase {
  /** As it came, for whoever runs what comes before it. */
  readonly raw: unknown;
  readonly options: SignatureOptions;
  /** It takes nothing from the task before it. */
  readonly isImmutable: boolean;
}

export type Signature =
  | SignatureBase & {
    readonly kind: "task";
    readonly task: string;
    readonly args: readonly unknown[];
    readonly kwargs: Readonly<Record<string, unknown>>;
  }
  | SignatureBase & { readonly kind: "group"; readonly members: readonly Signature[] }
  | SignatureBase & { readonly kind: "chain"; readonly steps: readonly Signature[] }
  /** Nobody can run it over rpc, or read it: why. */
  | SignatureBase & { readonly kind: "unsupported"; readonly reason: string };

/** Who waits for a task that comes later. */
export interface Awaited {
  readonly id: string;
  readonly replyTo: string;
}

export interface Canvas {
  /** Run when the task succeeds. */
  readonly callbacks: readonly Signature[];
  /** Run when it fails. */
  readonly errbacks: readonly Signature[];
  /** Run one after the other, the last one first. */
  readonly chain: readonly Signature[];
  /** Why not all of it can be run; then nothing of it is, and neither is its task. */
  readonly problem?: string;
}

/** Brackets that may be open at once: deeper bodies are a mistake, or an attack. */
const MAX_NESTED = 500;
const TOO_DEEP = `What is to follow it is nested more than ${MAX_NESTED} deep`;
const NOTHING = { callbacks: [], errbacks: [], chain: [] };

const ENCODER = new TextEncoder();
/** How bodies end that ask for nothing further: Python's way to write it, and ours. */
const EMPTY_ENDS = [
  '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
  '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]',
  ", null]",
  ", {}]",
].map((text) => ENCODER.encode(text));

/** Whether a body, not compressed, may ask for something further: most say at a glance that they do not. */
export function mayHaveCanvas(body: Uint8Array): boolean {
  return !EMPTY_ENDS.some((end) => endsWith(body, end));
}

function endsWith(body: Uint8Array, end: Uint8Array): boolean {
  const start = body.length - end.length;
  if (start < 0) return false;
  // From the front: what differs, differs early.
  for (let i = 0; i < end.length; i++) if (body[start + i] !== end[i]) return false;
  return true;
}

/** Reads what a body asks for besides its task; undefined where it is nothing, or not Celery's triple. */
export function readCanvas(body: string): Canvas | undefined {
  const [, , text, ...more] = elementTexts(body);
  if (text === undefined || more.length > 0) return undefined;
  if (isNestedDeeper(text, MAX_NESTED)) return { ...NOTHING, problem: TOO_DEEP };
  let embed: unknown;
  try {
    embed = parseExactly(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!isRecord(embed)) return undefined;
  const callbacks = list(embed.callbacks).map(signature);
  const errbacks = list(embed.errbacks).map(signature);
  const chain = list(embed.chain).map(signature);
  const chord = embed.chord !== null && embed.chord !== undefined;
  if (!chord && callbacks.length + errbacks.length + chain.length === 0) return undefined;
  const problem = chord
    ? "It belongs to a chord, which needs a result store that counts: results here go over rpc"
    : [...callbacks, ...errbacks, ...chain].map(problemOf).find((one) => one !== undefined) ??
      problemOfChain(chain.toReversed());
  return { callbacks, errbacks, chain, ...(problem === undefined ? {} : { problem }) };
}

function signature(raw: unknown): Signature {
  const fail = (reason: string): Signature => ({
    raw,
    options: isRecord(raw) ? signatureOptions(raw.options) : {},
    isImmutable: false,
    kind: "unsupported",
    reason,
  });
  if (!isRecord(raw) || typeof raw.task !== "string" || raw.task === "") {
    return fail("One of its signatures has no task");
  }
  const options = signatureOptions(raw.options);
  const isImmutable = raw.immutable === true;
  const kwargs = isRecord(raw.kwargs) ? raw.kwargs : {};
  const base = { raw, options, isImmutable };
  const inner = () => list(kwargs.tasks).map(signature);
  if (isRecord(raw.options) && raw.options.chord !== null && raw.options.chord !== undefined) {
    return fail(NO_CHORDS);
  }
  switch (raw.subtask_type) {
    case "group":
      return { ...base, kind: "group", members: inner() };
    case "chain":
      return { ...base, kind: "chain", steps: inner() };
    case "chord":
      return fail(NO_CHORDS);
    case "chunks":
      return fail("It asks for chunks, which is a group only once Celery itself has divided them");
    default:
      return { ...base, kind: "task", task: raw.task, args: list(raw.args), kwargs };
  }
}

const NO_CHORDS =
  "A chord is to run after it, which needs a result store that counts: results here go over rpc";

function problemOf(one: Signature): string | undefined {
  switch (one.kind) {
    case "task":
      return undefined;
    case "unsupported":
      return one.reason;
    case "group":
      return one.members.map(problemOf).find((problem) => problem !== undefined);
    case "chain":
      return one.steps.map(problemOf).find((problem) => problem !== undefined) ??
        problemOfChain(one.steps);
  }
}

/** A group that something follows is a chord, whatever it is called. */
function problemOfChain(steps: readonly Signature[]): string | undefined {
  return steps.slice(0, -1).some(({ kind }) => kind === "group") ? NO_CHORDS : undefined;
}

/** Whoever waits for one of the later steps of a task's chain; each is told when it fails. */
export function awaitedIn({ chain }: Canvas): readonly Awaited[] {
  return chain.flatMap(awaitedOf);
}

function awaitedOf(one: Signature): readonly Awaited[] {
  const { taskId, replyTo } = one.options;
  const own = taskId === undefined || replyTo === undefined ? [] : [{ id: taskId, replyTo }];
  switch (one.kind) {
    case "task":
      return own;
    case "group":
      return one.members.flatMap(awaitedOf);
    case "chain":
      return one.steps.flatMap(awaitedOf);
    case "unsupported":
      return [...own, ...bodyOf(one.raw)];
  }
}

/** The body of a chord, which is what its client waits for. */
function bodyOf(raw: unknown): readonly Awaited[] {
  const kwargs = isRecord(raw) && isRecord(raw.kwargs) ? raw.kwargs : {};
  if (!isRecord(kwargs.body)) return [];
  const { taskId, replyTo } = signatureOptions(kwargs.body.options);
  return taskId === undefined || replyTo === undefined ? [] : [{ id: taskId, replyTo }];
}

function signatureOptions(raw: unknown): SignatureOptions {
  if (!isRecord(raw)) return {};
  const found: Record<string, unknown> = {
    taskId: text(raw.task_id),
    replyTo: text(raw.reply_to),
    queue: text(isRecord(raw.queue) ? raw.queue.name : raw.queue),
    exchange: text(isRecord(raw.exchange) ? raw.exchange.name : raw.exchange),
    routingKey: text(raw.routing_key),
    priority: number(raw.priority),
    expires: number(raw.expires) ?? text(raw.expires),
    eta: text(raw.eta),
    countdownSeconds: number(raw.countdown),
    hardSeconds: number(raw.time_limit),
    softSeconds: number(raw.soft_time_limit),
    ignoreResult: raw.ignore_result === true ? true : undefined,
    shadow: text(raw.shadow),
    headers: isRecord(raw.headers) ? plain(raw.headers) : undefined,
    groupId: text(raw.group_id),
    link: raw.link === undefined ? undefined : list(raw.link),
    linkError: raw.link_error === undefined ? undefined : list(raw.link_error),
  };
  // What is absent stays absent, so that options can be laid over each other.
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** Celery takes one where several may stand. */
function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return value === null || value === undefined ? [] : [value];
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** `parseExactly` wraps numbers such as `1.0`. */
function number(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  const read = isRecord(value) ? plain(value) : undefined;
  return typeof read === "number" ? read : undefined;
}

function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

function isRecord(value: unknown): value is Record<string, unknown> & Record<string, HeaderValue> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
