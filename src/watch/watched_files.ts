/**
 * Which files a node's behaviour depends on while it is developed: its file of settings, the task
 * files, and what they import beside them. Not packages. Looks anew each time, for files come and go.
 */
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { importsOf, isSource } from "../platform/imports.ts";

export interface WatchedPaths {
  /** Absolute; it need not exist. */
  readonly settingsFile: string;
  /** Absolute paths of files and folders; they need not exist. */
  readonly taskPaths: readonly string[];
}

/** What a file looked like: another text means that it has changed. Absent: there is none. */
export type Snapshot = ReadonlyMap<string, string | undefined>;

/** Folders that hold others' code, and what hides from listings, as editors' own files do. */
const PASSED_OVER = /^(?:\.|node_modules$)/;
/** So many files at most: a folder given by mistake (the whole disk) must not hold the node up. */
const MAX_FILES = 5_000;
/** What may be left out of a specifier, in the order in which the runtime tries. */
const EXTENSIONS = ["", ".tsx", ".jsx", ".ts", ".mts", ".mjs", ".js", ".cts", ".cjs", ".json"];

interface Source {
  readonly looks: string;
  readonly specifiers: readonly string[];
}

export class WatchedFiles {
  readonly #paths: WatchedPaths;
  /** What was read of files that have not changed since. */
  #sources = new Map<string, Source>();

  constructor(paths: WatchedPaths) {
    this.#paths = paths;
  }

  get settingsFile(): string {
    return this.#paths.settingsFile;
  }

  /** All of them as they are now. */
  look(): Snapshot {
    const snapshot = new Map<string, string | undefined>();
    const sources = new Map<string, Source>();
    snapshot.set(this.#paths.settingsFile, looksOf(this.#paths.settingsFile));
    const todo = this.#paths.taskPaths.flatMap((path) => filesOf(path));
    for (let file = todo.pop(); file !== undefined; file = todo.pop()) {
      if (snapshot.has(file) || snapshot.size >= MAX_FILES) continue;
      const looks = looksOf(file);
      snapshot.set(file, looks);
      if (looks === undefined || !isSource(extname(file))) continue;
      const source = this.#read(file, looks);
      sources.set(file, source);
      todo.push(...source.specifiers.flatMap((specifier) => beside(file, specifier)));
    }
    this.#sources = sources;
    return snapshot;
  }

  #read(file: string, looks: string): Source {
    const known = this.#sources.get(file);
    if (known?.looks === looks) return known;
    // With a mistake in it, what it imported before is still of interest.
    const specifiers = importsOf(textOf(file), extname(file)) ?? known?.specifiers ?? [];
    return { looks, specifiers };
  }
}

/** The file, or the source files below the folder; the path itself where there is none. */
function filesOf(path: string): readonly string[] {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined || !status.isDirectory()) return [path];
  // Nothing may be in it yet.
  return [path, ...below(path, new Set())];
}

/** @param seen folders that were looked into: symbolic links may lead in a circle. */
function below(folder: string, seen: Set<string>): readonly string[] {
  const real = realpathSync(folder);
  if (seen.has(real) || seen.size >= MAX_FILES) return [];
  seen.add(real);
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (PASSED_OVER.test(entry.name)) return [];
    const path = join(folder, entry.name);
    const isFolder = entry.isSymbolicLink()
      ? statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
      : entry.isDirectory();
    if (isFolder) return below(path, seen);
    return isSource(extname(entry.name)) ? [path] : [];
  });
}

/** The files that a specifier may mean; none for a package or a module of the runtime. */
function beside(file: string, specifier: string): readonly string[] {
  if (specifier.startsWith("file:")) return candidates(fileURLToPath(specifier));
  if (!/^\.{0,2}\//.test(specifier)) return [];
  return candidates(resolve(dirname(file), specifier));
}

/** The one that is there, else all that could come. */
function candidates(path: string): readonly string[] {
  const written = path.replace(/\.([mc]?)js$/, ".$1ts");
  const all = [
    ...EXTENSIONS.map((extension) => path + extension),
    ...(written === path ? [] : [written]),
    ...EXTENSIONS.slice(1).map((extension) => join(path, `index${extension}`)),
  ];
  const found = all.find((one) => statSync(one, { throwIfNoEntry: false })?.isFile());
  return found === undefined ? [path, `${path}.ts`, `${path}.js`] : [found];
}

/** A folder looks the same as long as it is there: its files are looked at themselves. */
function looksOf(path: string): string | undefined {
  const status = statSync(path, { throwIfNoEntry: false, bigint: true });
  if (status === undefined) return undefined;
  if (status.isDirectory()) return "folder";
  return `${status.ino} ${status.size} ${status.mtimeNs} ${status.ctimeNs}`;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    // Gone since we looked, or not for us to read: who loads it says so.
    if (error instanceof Error && "code" in error) return "";
    throw error;
  }
}
