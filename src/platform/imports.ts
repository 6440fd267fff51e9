/** Reading which modules a source file imports, without running it. */

const LOADERS: Readonly<Record<string, "ts" | "tsx" | "js" | "jsx">> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".js": "jsx",
  ".mjs": "jsx",
  ".cjs": "jsx",
  ".jsx": "jsx",
};

/** Whether files of this extension ("." included) are source code that may import others. */
export function isSource(extension: string): boolean {
  return Object.hasOwn(LOADERS, extension);
}

/**
 * The specifiers that a source file imports, as they are written; types' imports are left out.
 * Undefined where it cannot be read as source, for a syntax error or its extension.
 */
export function importsOf(source: string, extension: string): readonly string[] | undefined {
  const loader = LOADERS[extension];
  if (loader === undefined) return undefined;
  try {
    return new Bun.Transpiler({ loader }).scanImports(source).map(({ path }) => path);
  } catch {
    // It throws what it has to say of the source's mistakes, of many classes; who loads it tells them.
    return undefined;
  }
}
