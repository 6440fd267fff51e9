/** `task` and `setup`, as task files call them. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { DefinitionError } from "./errors.ts";
import { definingFile } from "./defining_file.ts";
import { describeTask, type TaskOptions } from "./options.ts";
import { registry, type Settings } from "./registry.ts";

/**
 * A defined task. Calling it runs the function here and now, with no isolate, no limit, no input
 * check and no `context`: for tests, and for one task that needs another's code.
 */
export interface TaskDefinition<Args extends unknown[], Result> {
  (...args: Args): Result;
  /** The name that callers use. */
  readonly taskName: string;
}

/** The type that a task's function gets from its input schema. */
export type InputOf<Schema extends StandardSchemaV1> = StandardSchemaV1.InferOutput<Schema>;

/**
 * Defines a task: a named function that callers run by its name. Only at the top of a task file.
 *
 * A JSON array that a caller sends is the positional arguments, a JSON object is one argument, any
 * other value is the single argument; a Celery caller's keyword arguments are one object after the
 * positional ones. What the function returns must be what JSON carries; undefined becomes null.
 *
 * @param name unique among a worker's tasks, at most 255 bytes.
 * @param options limits, queue, isolation, retries; with `input` (any Standard Schema: Valibot, Zod,
 *   ArkType …) the arguments are checked first (one alone as it is, several as an array) and the
 *   function gets the schema's output. A caller whose input fails is told the schema's findings.
 * @throws DefinitionError when the name is taken or an option cannot be used.
 *
 * @example
 * export const add = task("math.add", (a: number, b: number) => a + b);
 *
 * @example
 * export const resize = task("images.resize", {
 *   queue: "images", timeout: "30s", softTimeout: "25s", input: ResizeInput,
 * }, async ({ url, width }) => { … });
 */
export function task<Args extends unknown[], Result>(
  name: string,
  run: (...args: Args) => Result,
): TaskDefinition<Args, Result>;
export function task<Schema extends StandardSchemaV1, Result>(
  name: string,
  options: TaskOptions & { readonly input: Schema },
  run: (input: InputOf<Schema>) => Result,
): TaskDefinition<[input: InputOf<Schema>], Result>;
export function task<Args extends unknown[], Result>(
  name: string,
  options: TaskOptions,
  run: (...args: Args) => Result,
): TaskDefinition<Args, Result>;
export function task(
  name: string,
  second: unknown,
  third?: unknown,
): TaskDefinition<unknown[], unknown> {
  const file = definingFile(task);
  const run = third ?? second;
  if (!isFunction(run)) {
    throw new DefinitionError(
      `Cannot define task ${JSON.stringify(name)} in ${file}: its last argument must be a function`,
    );
  }
  const options: TaskOptions & { readonly input?: unknown } = third === undefined
    ? {}
    : asOptions(second, name, file);
  registry.addTask({
    descriptor: { ...describeTask(name, options, file), parameters: run.length },
    input: asSchema(options.input, name, file),
    run,
  });
  return Object.assign((...args: unknown[]) => run(...args), { taskName: name });
}

/** Options of `setup`. */
export interface SetupOptions<Made extends object> {
  /**
   * Runs when the isolate is recycled or the worker stops (not when the isolate is killed), with a few
   * seconds to end.
   */
  readonly teardown?: (settings: Made) => unknown;
}

/**
 * Makes what tasks share: runs once in each isolate, before its first task. The worker does not start
 * when it fails.
 *
 * @param make returns (or resolves with) a plain object. The objects of all set-ups of an isolate are
 *   put together into `context.settings`; two that use one name are an error.
 * @returns `context.settings` with the type of what `make` returns, empty until `make` has run: read
 *   it inside tasks.
 *
 * @example
 * export const settings = setup(async () => ({ db: await openDb() }), {
 *   teardown: ({ db }) => db.close(),
 * });
 */
export function setup<Made extends object>(
  make: () => Made | Promise<Made>,
  options: SetupOptions<Made> = {},
): Made {
  const file = definingFile(setup);
  if (!isFunction(make)) {
    throw new DefinitionError(
      `Cannot define a set-up in ${file}: its first argument must be a function`,
    );
  }
  const { teardown } = options;
  // The one place where what set-ups made, untyped by name, gets the type that the author gave it.
  const typed = (settings: Settings) => settings as unknown as Made;
  registry.addSetup({
    file,
    run: make,
    teardown: teardown && ((settings) => teardown(typed(settings))),
  });
  return typed(registry.settings);
}

function isFunction(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === "function";
}

function asOptions(value: unknown, name: string, file: string): TaskOptions & { input?: unknown } {
  if (typeof value === "object" && value !== null) return value;
  throw new DefinitionError(
    `Cannot define task ${JSON.stringify(name)} in ${file}: its options must be an object, ` +
      `got ${typeof value}`,
  );
}

function asSchema(value: unknown, name: string, file: string): StandardSchemaV1 | undefined {
  if (value === undefined) return undefined;
  if (isSchema(value)) return value;
  throw new DefinitionError(
    `Cannot define task ${JSON.stringify(name)} in ${file}: input must be a Standard Schema ` +
      `(Valibot, Zod 3.24+, ArkType …)`,
  );
}

/** Some libraries' schemas are functions, so both are looked into. */
function isSchema(value: unknown): value is StandardSchemaV1 {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard: unknown = Reflect.get(value, "~standard");
  return typeof standard === "object" && standard !== null &&
    typeof Reflect.get(standard, "validate") === "function";
}
