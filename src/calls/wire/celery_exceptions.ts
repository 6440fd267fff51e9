/**
 * Errors as Python's exceptions: under which module and with which arguments a Celery client finds the
 * class that its users expect. A name that no module has becomes a class of that name there
 * (`celery.backends.base`, `exception_to_python`).
 */

/** Those of Python's own that are made of one message. */
const BUILTINS = new Set(
  ("ArithmeticError AssertionError AttributeError BlockingIOError BrokenPipeError BufferError " +
    "ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError " +
    "ConnectionResetError EOFError Exception FileExistsError FileNotFoundError " +
    "FloatingPointError ImportError IndentationError IndexError InterruptedError " +
    "IsADirectoryError KeyError LookupError MemoryError ModuleNotFoundError NameError " +
    "NotADirectoryError NotImplementedError OSError OverflowError PermissionError " +
    "ProcessLookupError RecursionError ReferenceError RuntimeError SyntaxError SystemError " +
    "TabError TimeoutError TypeError UnboundLocalError UnicodeError ValueError Warning " +
    "ZeroDivisionError").split(" "),
);

/** What our errors are called there, and where. */
const OURS: Readonly<Record<string, { readonly type: string; readonly module: string }>> = {
  SoftTimeLimitExceeded: { type: "SoftTimeLimitExceeded", module: "billiard.exceptions" },
  NotRegistered: { type: "NotRegistered", module: "celery.exceptions" },
  Reject: { type: "Reject", module: "celery.exceptions" },
  // It was the last attempt.
  Retry: { type: "MaxRetriesExceededError", module: "celery.exceptions" },
};

/**
 * Names no module of Python's, so that whoever wants a class of his own for our errors has a place for
 * it: a module of this name with a class of the error's name.
 */
const OTHER_MODULE = "coxswain";

export interface PythonException {
  readonly exc_type: string;
  readonly exc_module: string;
}

/** @param type the name of an error's class. */
export function pythonException(type: string): PythonException {
  const own = Object.hasOwn(OURS, type) ? OURS[type] : undefined;
  if (own !== undefined) return { exc_type: own.type, exc_module: own.module };
  return { exc_type: type, exc_module: BUILTINS.has(type) ? "builtins" : OTHER_MODULE };
}
