/** Temporary folders with files, gone after the test. */
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A folder that is removed at the end of the block: `await using folder = await makeFolder(…)`. */
export interface Folder extends AsyncDisposable {
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** The absolute path of something inside. */
  file(name: string): string;
}

/** @param files their contents by path inside the folder. */
export async function makeFolder(files: Readonly<Record<string, string>> = {}): Promise<Folder> {
  const path = await realpath(await mkdtemp(join(tmpdir(), "coxswain-test-")));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content);
  }
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
