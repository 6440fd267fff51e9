/**
 * What a task's canvas becomes once the task has ended: the requests that Celery's own worker would
 * publish then, with the same ids whenever it is done again. Pure. signature.ts reads the canvas,
 * follow_up_message.ts writes the messages and src/worker/follow_ups.ts publishes them.
 */
import { createHash } from "node:crypto";
import type { Canvas, Signature, SignatureOptions } from "./signature.ts";

/** The task that has ended. */
export interface Ended {
  readonly id: string;
  readonly task: string;
  readonly rootId: string | undefined;
}

/** A request that follows from another. */
export interface FollowUp {
  readonly id: string;
  readonly task: string;
  readonly argsJson: string;
  readonly kwargsJson: string;
  /** Signatures as they came. */
  readonly callbacks: readonly unknown[];
  readonly errbacks: readonly unknown[];
  readonly chain: readonly unknown[];
  readonly options: SignatureOptions;
  readonly parentId: string;
  readonly rootId: string;
  readonly groupId?: string;
}

/** Requests, and what `AsyncResult.children` makes of them in the reply of the task before. */
export interface Following {
  readonly requests: readonly FollowUp[];
  readonly children: readonly unknown[];
}

/** How a task failed, as those are told who were to hear of it. */
export interface Failure {
  /** JSON text of Celery's `{exc_type, exc_message, exc_module}`. */
  readonly exceptionJson: string;
  readonly traceback: string | undefined;
}

const NOTHING: Following = { requests: [], children: [] };

/**
 * After a task that returned: its callbacks, then the next step of its chain.
 * @param resultJson goes before the arguments of those that are not immutable.
 */
export function afterSuccess(
  { callbacks, chain }: Canvas,
  ended: Ended,
  resultJson: string,
): Following {
  const next = chain.at(-1);
  const before = [resultJson];
  const rest = chain.slice(0, -1).map(({ raw }) => raw);
  return join([
    together(callbacks, { ended, before, path: "callback", chain: [], options: {} }),
    next === undefined
      ? NOTHING
      : follow(next, { ended, before, path: "chain", chain: rest, options: {} }),
  ]);
}

/**
 * After a task that failed: its errbacks. Celery calls those with three parameters that its worker has
 * itself, and publishes the others with the id alone.
 * @param takesFailure whether a task, by its name, takes the request, the exception and the traceback.
 */
export function afterFailure(
  { errbacks }: Canvas,
  ended: Ended,
  failure: Failure,
  takesFailure: (task: string) => boolean,
): Following {
  const id = JSON.stringify(ended.id);
  const request = JSON.stringify({ id: ended.id, task: ended.task, root_id: ended.rootId ?? null });
  const traceback = JSON.stringify(failure.traceback ?? null);
  const before = (one: Signature) =>
    one.kind === "task" && takesFailure(one.task)
      ? [request, failure.exceptionJson, traceback]
      : [id];
  return join(errbacks.map((one, index) =>
    follow(one, {
      ended,
      before: before(one),
      path: `errback.${index}`,
      chain: [],
      options: {},
    })
  ));
}

/** Where in a canvas a signature stands, and what it gets from around it. */
interface Place {
  readonly ended: Ended;
  /** JSON texts that go before its arguments. */
  readonly before: readonly string[];
  /** What its id is made of, where it has none. */
  readonly path: string;
  /** What runs after it, the last one first, as it came. */
  readonly chain: readonly unknown[];
  /** Options from around it, which count more than its own. */
  readonly options: SignatureOptions;
  readonly groupId?: string;
}

/** Several callbacks are a group. */
function together(signatures: readonly Signature[], place: Place): Following {
  const groupId = childId(place.ended.id, place.path);
  return join(signatures.map((one, index) =>
    follow(one, {
      ...place,
      path: `${place.path}.${index}`,
      ...(signatures.length > 1 ? { groupId } : {}),
    })
  ));
}

function follow(one: Signature, place: Place): Following {
  switch (one.kind) {
    case "task":
      return followTask(one, place);
    case "group":
      return followGroup(one, place);
    case "chain":
      return followChain(one, place);
    case "unsupported":
      // Such a task was refused before it ran.
      return NOTHING;
  }
}

function followTask(one: Extract<Signature, { kind: "task" }>, place: Place): Following {
  const { ended, path, chain } = place;
  const options = { ...one.options, ...place.options };
  const { taskId: id = childId(ended.id, path) } = one.options;
  const groupId = one.options.groupId ?? place.groupId;
  const given = one.args.map((arg) => JSON.stringify(arg));
  const args = one.isImmutable ? given : [...place.before, ...given];
  const request: FollowUp = {
    id,
    task: one.task,
    argsJson: `[${args.join(",")}]`,
    kwargsJson: JSON.stringify(one.kwargs),
    callbacks: options.link ?? [],
    errbacks: options.linkError ?? [],
    chain,
    options,
    parentId: ended.id,
    rootId: ended.rootId ?? ended.id,
    ...(groupId === undefined ? {} : { groupId }),
  };
  return { requests: [request], children: [resultTuple(id)] };
}

function followGroup(
  { options, members }: Extract<Signature, { kind: "group" }>,
  place: Place,
): Following {
  const { taskId: groupId = childId(place.ended.id, place.path), ...own } = options;
  const { requests, children } = join(members.map((member, index) =>
    follow(member, {
      ...place,
      path: `${place.path}.${index}`,
      options: { ...own, ...place.options },
      groupId,
    })
  ));
  // A group within a group is one with it.
  const flat = children.flatMap((child) => isGroup(child) ? child[1] : [child]);
  return { requests, children: [[[groupId, null], flat]] };
}

/** Its first step is published, and carries the others. */
function followChain(chain: Extract<Signature, { kind: "chain" }>, place: Place): Following {
  const [first, ...later] = steps(chain);
  if (first === undefined) return NOTHING;
  const { taskId, link, linkError = [], groupId = place.groupId, ...options } = chain.options;
  const last = later.at(-1);
  const raws = later.map((step) =>
    withOptions(step.raw, {
      ...(step === last && taskId !== undefined ? { task_id: taskId } : {}),
      ...(step === last && groupId !== undefined ? { group_id: groupId } : {}),
      ...(step === last && link !== undefined ? { link } : {}),
      ...(linkError.length > 0 ? { link_error: linkError } : {}),
    })
  );
  const own = first.options;
  const followed = follow(
    {
      ...first,
      options: {
        ...own,
        ...(linkError.length > 0 ? { linkError: [...own.linkError ?? [], ...linkError] } : {}),
        ...(last === undefined && link !== undefined ? { link: [...own.link ?? [], ...link] } : {}),
        ...(last === undefined && taskId !== undefined ? { taskId } : {}),
      },
    },
    {
      ...place,
      path: `${place.path}.0`,
      before: chain.isImmutable ? [] : place.before,
      chain: [...place.chain, ...raws.toReversed()],
      options: { ...options, ...place.options },
      ...(last === undefined && groupId !== undefined ? { groupId } : {}),
    },
  );
  const lastId = taskId ?? last?.options.taskId;
  return lastId === undefined ? followed : { ...followed, children: [resultTuple(lastId)] };
}

/** A chain within a chain is one with it. */
function steps({ steps: own }: Extract<Signature, { kind: "chain" }>): readonly Signature[] {
  return own.flatMap((step) => step.kind === "chain" ? steps(step) : [step]);
}

function withOptions(raw: unknown, more: Record<string, unknown>): unknown {
  if (typeof raw !== "object" || raw === null || Object.keys(more).length === 0) return raw;
  const options: unknown = Reflect.get(raw, "options");
  const own = typeof options === "object" && options !== null ? { ...options } : {};
  const joined = Object.fromEntries(
    Object.entries(more).map(([name, value]) => {
      const present: unknown = Reflect.get(own, name);
      return [
        name,
        Array.isArray(value) && Array.isArray(present) ? [...present, ...value] : value,
      ];
    }),
  );
  return { ...raw, options: { ...own, ...joined } };
}

/** `AsyncResult.as_tuple()` */
function resultTuple(id: string): unknown {
  return [[id, null], null];
}

function isGroup(child: unknown): child is [unknown, unknown[]] {
  return Array.isArray(child) && Array.isArray(child[1]);
}

function join(parts: readonly Following[]): Following {
  return {
    requests: parts.flatMap(({ requests }) => requests),
    children: parts.flatMap(({ children }) => children),
  };
}

/** The same for the same place below the same task: what is published again is the same task. */
function childId(parentId: string, path: string): string {
  const hash = createHash("sha256").update(`${parentId}\0${path}`).digest();
  // A UUID of one's own making (RFC 9562, section 5.8).
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
