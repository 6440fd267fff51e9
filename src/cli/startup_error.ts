/** What ends a command before its work began, for the operator to put right. */
import { BrokerAwayError, BrokerRefusedError } from "../broker/errors.ts";
import { EXIT } from "./exit_code.ts";

/** The message says what is wrong and what to do, and is all that is printed. */
export class StartupError extends Error {
  override readonly name = "StartupError";
  readonly exitCode: number;

  constructor(message: string, options: ErrorOptions & { readonly exitCode?: number } = {}) {
    super(message, options);
    this.exitCode = options.exitCode ?? EXIT.wrongUsage;
  }
}

/** The exit code and the one message for an error that an operator can act on; else undefined. */
export function startupFailure(
  error: unknown,
): { readonly exitCode: number; readonly message: string } | undefined {
  if (error instanceof StartupError) return { exitCode: error.exitCode, message: error.message };
  if (error instanceof BrokerAwayError || error instanceof BrokerRefusedError) {
    return { exitCode: EXIT.noBroker, message: withCause(error) };
  }
  return undefined;
}

/** The message and the deepest reason that it does not name already. */
function withCause(error: Error): string {
  let cause: unknown = error.cause;
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause;
  return cause instanceof Error && !error.message.includes(cause.message)
    ? `${error.message} (${cause.message})`
    : error.message;
}
