/**
 * Checks the direction of dependencies over all of src: who may import whom, no import cycles, and
 * the runtime's own API in src/platform alone. Prints each violation with its file and line and ends
 * with 1 where there is one. `bun scripts/check_layers.ts [ROOT]`.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";

const FLOOR = ["lifecycle", "async", "observe", "platform"] as const;
const EVERYTHING_BUT_ADAPTERS = [
  ...FLOOR,
  "version.ts",
  "reserved_names.ts",
  "pubsub",
  "bench",
  "tasks",
  "broker",
  "heartbeat",
  "jobs",
  "store",
  "nodes",
  "devices",
  "calls",
  "messages",
  "isolates",
  "celery",
  "worker",
  "http",
  "config",
  "watch",
  "cli",
] as const;

/**
 * Part of src → parts that it may import besides itself. A part is a folder with what lies in it, or
 * one file; the longest that fits a file is its part. Imports of types count here, and not for
 * cycles: they are gone at run time.
 */
export const LAYERS: Readonly<Record<string, readonly string[]>> = {
  lifecycle: FLOOR,
  async: FLOOR,
  observe: FLOOR,
  platform: FLOOR,
  "version.ts": [],
  "reserved_names.ts": [],
  // What a task file imports as "coxswain".
  "mod.ts": ["tasks"],
  tasks: ["reserved_names.ts", "lifecycle", "platform"],
  // Ports; their adapters lie in folders of their own.
  broker: ["lifecycle", "async"],
  "broker/amqp": ["broker", "version.ts", ...FLOOR],
  "broker/embedded": ["broker", ...FLOOR],
  bench: ["calls", ...FLOOR],
  pubsub: ["broker", "tasks", "reserved_names.ts", ...FLOOR],
  // A job's record and what events make of it: what the store keeps. What works with the store and
  // the broker lies beside it.
  jobs: ["calls", "celery", "broker", "devices", "nodes", "tasks", "store", "version.ts", ...FLOOR],
  store: ["devices", "jobs", "tasks", ...FLOOR],
  "store/sqlite": ["store", "devices", "jobs", "tasks", ...FLOOR],
  "store/postgres": ["store", "devices", "jobs", "tasks", ...FLOOR],
  heartbeat: ["broker", "version.ts", ...FLOOR],
  nodes: ["broker", "heartbeat", "pubsub", "tasks", "version.ts", "lifecycle", "async", "observe"],
  calls: ["broker", "tasks", "nodes", "version.ts", "reserved_names.ts", ...FLOOR],
  // What devices are called and what travels of them is beside the gateway; recorders and stores read it.
  devices: ["broker", "nodes", "pubsub", "tasks", "reserved_names.ts", ...FLOOR],
  messages: ["broker", "calls", "nodes", "tasks", "reserved_names.ts", ...FLOOR],
  // It provides the module "coxswain" to task files.
  isolates: ["mod.ts", "tasks", ...FLOOR],
  // Celery's remote control and events, as a worker hears and tells them.
  celery: ["broker", "calls", "tasks", "reserved_names.ts", "version.ts", ...FLOOR],
  worker: [
    "celery",
    "calls",
    "jobs",
    "isolates",
    "broker",
    "heartbeat",
    "nodes",
    "tasks",
    ...FLOOR,
  ],
  http: [
    "calls",
    "devices",
    "messages",
    "reserved_names.ts",
    "pubsub",
    "jobs",
    "store",
    "nodes",
    "tasks",
    "version.ts",
    ...FLOOR,
  ],
  // Files that are watched while a node is developed.
  watch: ["lifecycle", "platform"],
  config: ["reserved_names.ts", "devices", "tasks", "lifecycle", "platform", "observe"],
  cli: EVERYTHING_BUT_ADAPTERS,
  // The composition root; one file of it names adapters.
  "cli/run.ts": ["cli/run", "cli/run/adapters.ts", ...EVERYTHING_BUT_ADAPTERS],
  "cli/run": ["cli/run/adapters.ts", ...EVERYTHING_BUT_ADAPTERS],
  "cli/run/adapters.ts": [
    ...EVERYTHING_BUT_ADAPTERS,
    "broker/amqp",
    "broker/embedded",
    "store/sqlite",
    "store/postgres",
  ],
};

export interface Violation {
  /** Relative to src, with slashes. */
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** One import of another file or package. */
interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly isOfTypes: boolean;
}

/** @param files sources by their path relative to src, with slashes. */
export function checkLayers(files: ReadonlyMap<string, string>): readonly Violation[] {
  const code = new Map([...files].map(([file, source]) => [file, withoutComments(source)]));
  const imports = new Map([...code].map(([file, source]) => [file, importsOf(source)]));
  const violations = [...files.keys()].flatMap((file) => [
    ...wrongDirections(file, imports.get(file) ?? []),
    ...runtimeUses(file, code.get(file) ?? "", imports.get(file) ?? []),
  ]);
  return [...violations, ...cycles(imports)];
}

function wrongDirections(file: string, imports: readonly Import[]): Violation[] {
  const part = partOf(file);
  if (part === undefined) {
    return [{ file, line: 1, message: "belongs to no part in the table of layers" }];
  }
  return imports.flatMap(({ specifier, line }) => {
    if (!specifier.startsWith(".")) return [];
    const target = targetOf(file, specifier);
    if (target.startsWith("../")) return [{ file, line, message: `imports ${target}, not of src` }];
    const targetPart = partOf(target);
    if (targetPart === part || (targetPart && LAYERS[part]?.includes(targetPart))) return [];
    return [{ file, line, message: `${part} must not import ${targetPart ?? target} (${target})` }];
  });
}

function runtimeUses(file: string, code: string, imports: readonly Import[]): Violation[] {
  if (file.startsWith("platform/")) return [];
  const message = "the runtime's own API belongs into platform";
  const modules = imports
    .filter(({ specifier }) => /^bun(?::|$)/.test(specifier))
    .map(({ line }) => ({ file, line, message }));
  const globals = [...code.matchAll(/(?<![\w$."'`])Bun(?:\??\.[\w$]|\[)|globalThis\.Bun\b/g)]
    .map(({ index }) => ({ file, line: lineOf(code, index), message }));
  return [...modules, ...globals];
}

/** Each cycle once, told at the import that closes it. */
function cycles(imports: ReadonlyMap<string, readonly Import[]>): Violation[] {
  const violations: Violation[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    for (const { specifier, line, isOfTypes } of imports.get(file) ?? []) {
      if (!specifier.startsWith(".") || isOfTypes) continue;
      const target = targetOf(file, specifier);
      const start = path.indexOf(target);
      if (start >= 0) {
        const ring = [...path.slice(start), target].join(" → ");
        violations.push({ file, line, message: `import cycle: ${ring}` });
      } else if (!done.has(target) && imports.has(target)) visit(target, [...path, target]);
    }
    done.add(file);
  };
  for (const file of imports.keys()) if (!done.has(file)) visit(file, [file]);
  return violations;
}

function partOf(file: string): string | undefined {
  return Object.keys(LAYERS)
    .filter((part) => file === part || file.startsWith(`${part}/`))
    .toSorted((a, b) => b.length - a.length)[0];
}

function targetOf(file: string, specifier: string): string {
  return posix.normalize(posix.join(dirname(file), specifier));
}

// Static imports and exports stand at the beginning of a line; `import(…)` also writes types.
const STATIC = /^[ \t]*(?:import|export)\b(?:[^;"'`]*?\bfrom)?\s*(["'])([^"'\n]+)\1/gm;
const DYNAMIC = /\bimport\(\s*(["'])([^"'\n]+)\1/g;

function importsOf(code: string): Import[] {
  return [...code.matchAll(STATIC), ...code.matchAll(DYNAMIC)].map((match) => ({
    specifier: match[2] ?? "",
    line: lineOf(code, match.index + match[0].length),
    isOfTypes: /^\s*(?:import|export)\s+type\b/.test(match[0]),
  }));
}

/** Comments become blanks, so that lines keep their numbers; texts stay, for specifiers are texts. */
function withoutComments(source: string): string {
  return source.replace(
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (token) => token.startsWith("/") ? token.replace(/[^\n]/g, " ") : token,
  );
}

function lineOf(code: string, index: number): number {
  return code.slice(0, index).split("\n").length;
}

function readSources(folder: string): ReadonlyMap<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return new Map(
    names.filter((name) => name.endsWith(".ts")).toSorted()
      .map((name) => [name.replaceAll("\\", "/"), readFileSync(join(folder, name), "utf8")]),
  );
}

if (import.meta.main) {
  const root = process.argv[2] ?? join(import.meta.dirname, "..");
  const violations = checkLayers(readSources(join(root, "src")));
  for (const { file, line, message } of violations) {
    console.error(`src/${file}:${line}: ${message}`);
  }
  if (violations.length > 0) process.exit(1);
}
