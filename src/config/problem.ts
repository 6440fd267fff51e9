/** What is wrong with the configuration, as data and as text for the operator. */

import { redactText } from "../observe/redaction.ts";

/** Where a value was given. */
export type Origin =
  | { readonly kind: "flag"; readonly name: string }
  | { readonly kind: "variable"; readonly name: string }
  /** `path`: as it was named. */
  | { readonly kind: "file"; readonly path: string; readonly key: string };

export interface ConfigProblem {
  /** Key of the setting, or the unknown name. */
  readonly key: string;
  /** As it was given; absent where it is secret or there is none. */
  readonly value?: string;
  /** Absent where several values do not fit together, or a default does not do. */
  readonly origin?: Origin;
  /** What was expected, or what to do, as a sentence without its end. */
  readonly message: string;
}

/** One line: where, value, what was expected. Without control characters, which a terminal would obey. */
export function formatProblem({ value, origin, message }: ConfigProblem): string {
  const line = origin === undefined ? message : `${formatOrigin(origin, value)}: ${message}`;
  return line.replace(/\p{Cc}/gu, "?");
}

/** All of them, each on its line. */
export function formatProblems(problems: readonly ConfigProblem[]): string {
  return problems.map((problem) => `  ${formatProblem(problem)}`).join("\n");
}

function formatOrigin(origin: Origin, value: string | undefined): string {
  const shown = value === undefined ? "" : shorten(value);
  switch (origin.kind) {
    case "flag":
      return shown === "" ? origin.name : `${origin.name} ${shown}`;
    case "variable":
      return shown === "" ? origin.name : `${origin.name}=${shown}`;
    case "file":
      return `${origin.path}: ${origin.key}${shown === "" ? "" : ` = ${shown}`}`;
  }
}

/** With its password hidden. */
function shorten(value: string): string {
  const plain = redactText(value);
  return plain.length > 60 ? `${plain.slice(0, 57)}...` : plain;
}
