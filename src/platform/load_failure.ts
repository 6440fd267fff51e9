/** Why a module did not load, from the runtime's own messages. */

export interface LoadFailure {
  readonly reason: string;
  /** "file:line:column", or "file:line", where the runtime tells it. */
  readonly place: string | undefined;
}

/**
 * Reads what `import()` threw: a syntax error, an import that cannot be found, or an error of the
 * module's own code.
 * @param file the module that was imported; the trouble may be in one that it imports.
 */
export function loadFailure(thrown: unknown, file: string): LoadFailure {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    return loadFailure(thrown.errors[0], file);
  }
  return { reason: reasonOf(thrown), place: positionOf(thrown) ?? frameOf(thrown, file) };
}

function reasonOf(thrown: unknown): string {
  if (typeof thrown !== "object" || thrown === null) return String(thrown);
  const message: unknown = Reflect.get(thrown, "message");
  const name: unknown = Reflect.get(thrown, "name");
  if (typeof message !== "string") return String(thrown);
  // The runtime's own message kinds say nothing to a reader; an error's class does.
  const isOwnKind = name === "BuildMessage" || name === "ResolveMessage";
  return isOwnKind || typeof name !== "string" ? message : `${name}: ${message}`;
}

/** Bun's BuildMessage and ResolveMessage carry a position. */
function positionOf(thrown: unknown): string | undefined {
  if (typeof thrown !== "object" || thrown === null) return undefined;
  const position: unknown = Reflect.get(thrown, "position");
  if (typeof position !== "object" || position === null) return undefined;
  const file: unknown = Reflect.get(position, "file");
  const line: unknown = Reflect.get(position, "line");
  const column: unknown = Reflect.get(position, "column");
  if (typeof file !== "string" || file === "" || typeof line !== "number") return undefined;
  return typeof column === "number" ? `${file}:${line}:${column}` : `${file}:${line}`;
}

/** The first line of the stack that is in the module. */
function frameOf(thrown: unknown, file: string): string | undefined {
  const stack: unknown = thrown instanceof Error ? thrown.stack : undefined;
  if (typeof stack !== "string") return undefined;
  for (const line of stack.split("\n")) {
    const start = line.indexOf(`${file}:`);
    const position = start < 0 ? null : /^:\d+(:\d+)?/.exec(line.slice(start + file.length));
    if (position) return `${file}${position[0]}`;
  }
  return undefined;
}
