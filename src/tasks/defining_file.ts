/** Which file a definition stands in, so that messages can name it. */
import { callSites } from "../platform/call_site.ts";

/** Written by the loader: the files that it loads, and the one that it loads now. */
const loading: { files: ReadonlySet<string>; current: string | undefined } = {
  files: new Set(),
  current: undefined,
};

/**
 * Says which file is being loaded while `load` runs.
 * @param files all task files: one may import another, whose definitions are still its own.
 */
export async function whileLoading<T>(
  file: string,
  files: ReadonlySet<string>,
  load: () => T | Promise<T>,
): Promise<T> {
  const before = { ...loading };
  Object.assign(loading, { files, current: file });
  try {
    return await load();
  } finally {
    Object.assign(loading, before);
  }
}

/**
 * The task file that called a function: the outermost task file on the stack, so that a helper which
 * wraps `task` does not hide who used it; else the file that is being loaded.
 */
export function definingFile(callee: (...args: never[]) => unknown): string {
  if (loading.current === undefined) return "this program";
  const site = callSites(callee).findLast(({ file }) => loading.files.has(file));
  return site?.file ?? loading.current;
}
