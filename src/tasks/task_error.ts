/** How a task's failure looks once it is plain data: what callers, logs and the wire are told. */

/** One finding of a task's input schema (Standard Schema's issue, as plain data). */
export interface InputIssue {
  readonly message: string;
  /** Property names and indexes from the input's root. */
  readonly path: readonly string[];
}

export interface TaskError {
  /** The error's class name, e.g. "ValueError"; "InvalidInput" where the task's schema said no. */
  readonly type: string;
  readonly message: string;
  readonly stack?: string;
  readonly issues?: readonly InputIssue[];
}
