/** Finds task files and loads them into this isolate's registry. */
import { readdir, realpath, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadFailure } from "../platform/load_failure.ts";
import { whileLoading } from "./defining_file.ts";
import { DefinitionError } from "./errors.ts";
import { registry } from "./registry.ts";

/** A task file, or a path that was to give some, cannot be used. */
export class TaskFileError extends Error {
  override readonly name = "TaskFileError";
  /** The file or path that it is about. */
  readonly file: string;

  constructor(file: string, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.file = file;
  }
}

export interface LoadedTaskFiles {
  readonly files: readonly string[];
  /** Files that load but define nothing. */
  readonly idle: readonly string[];
}

const TASK_FILE = /\.(ts|mts|js|mjs)$/;
const IGNORED_FILE = /\.(test|spec)\.[^.]+$|_test\.[^.]+$|\.d\.m?ts$/;

/**
 * Loads task files in the order of their paths.
 *
 * A path is a file, which is loaded whatever its name, or a folder, of which all `.ts`, `.mts`, `.js`
 * and `.mjs` files are loaded, nested ones too; left out are tests (`*.test.*`, `*.spec.*`,
 * `*_test.*`), type declarations (`*.d.ts`), `node_modules`, and what starts with a dot.
 *
 * @param paths relative to the working directory; what several of them name is loaded once.
 * @throws TaskFileError when a path does not exist, a folder has no task file, or a file does not load;
 *   the message names the file, and the line where it is known.
 */
export async function loadTaskFiles(paths: readonly string[]): Promise<LoadedTaskFiles> {
  const files = await findTaskFiles(paths);
  const known = new Set(files);
  for (const file of files) await loadTaskFile(file, known);
  const { tasks, consumers, schedules, periodic } = registry.definitions;
  const used = new Set([
    ...[...tasks, ...consumers, ...schedules, ...periodic].map(({ file }) => file),
    ...registry.setups.map((setup) => setup.file),
  ]);
  return { files, idle: files.filter((file) => !used.has(file)) };
}

/** The task files that paths name: absolute, without symbolic links, each once. */
export async function findTaskFiles(paths: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const path of paths) {
    for (const file of await filesOf(path)) found.add(file);
  }
  return [...found];
}

async function filesOf(path: string): Promise<readonly string[]> {
  const absolute = resolve(path);
  let real: string;
  try {
    real = await realpath(absolute);
  } catch (error) {
    throw new TaskFileError(
      absolute,
      `Cannot load tasks from ${absolute}: there is no such file or folder`,
      { cause: error },
    );
  }
  if ((await stat(real)).isFile()) return [real];
  const files = await filesBelow(real, new Set());
  if (files.length === 0) {
    throw new TaskFileError(
      absolute,
      `Cannot load tasks from ${absolute}: the folder has no task file (*.ts, *.mts, *.js, *.mjs)`,
    );
  }
  return files;
}

/** @param seen folders that were looked into: symbolic links may lead in a circle. */
async function filesBelow(folder: string, seen: Set<string>): Promise<readonly string[]> {
  if (seen.has(folder)) return [];
  seen.add(folder);
  const names = (await readdir(folder)).filter((name) =>
    !name.startsWith(".") && name !== "node_modules"
  );
  const files: string[] = [];
  for (const name of names.sort()) {
    const path = await realpath(join(folder, name)).catch((error: unknown) => {
      if (isDangling(error)) return undefined;
      throw error;
    });
    if (path === undefined) continue;
    const status = await stat(path);
    if (status.isDirectory()) files.push(...await filesBelow(path, seen));
    else if (status.isFile() && TASK_FILE.test(name) && !IGNORED_FILE.test(name)) files.push(path);
  }
  return files;
}

/** A symbolic link to nothing, such as an editor's lock file. */
function isDangling(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

async function loadTaskFile(file: string, known: ReadonlySet<string>): Promise<void> {
  try {
    await whileLoading(file, known, () => import(file));
  } catch (error) {
    // A definition's message names its file already.
    if (error instanceof DefinitionError) {
      throw new TaskFileError(file, error.message, { cause: error });
    }
    const { reason, place } = loadFailure(error, file);
    throw new TaskFileError(file, `Cannot load task file ${place ?? file}: ${reason}`, {
      cause: error,
    });
  }
}
