/** Which files the running code was called from: the V8 stack API, as the runtime has it. */

export interface CallSite {
  readonly file: string;
  readonly line: number;
}

const MAX_FRAMES = 50;

/**
 * The frames below a function, innermost first; frames without a file are left out.
 * @param callee this function and all that it called are left out too.
 */
export function callSites(callee: (...args: never[]) => unknown): readonly CallSite[] {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const holder: { stack?: unknown } = {};
  try {
    Error.stackTraceLimit = MAX_FRAMES;
    Error.prepareStackTrace = (_error, frames) =>
      frames.flatMap((frame) => {
        const file = frame.getFileName();
        return file ? [{ file, line: frame.getLineNumber() ?? 0 }] : [];
      });
    Error.captureStackTrace(holder, callee);
    return Array.isArray(holder.stack) ? holder.stack : [];
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    if (prepareStackTrace === undefined) Reflect.deleteProperty(Error, "prepareStackTrace");
    else Error.prepareStackTrace = prepareStackTrace;
  }
}
