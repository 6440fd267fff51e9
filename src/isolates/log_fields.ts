/** Bounds for what tasks log: a task may log anything, in a loop, without hurting the main thread. */

const MAX_TEXT_LENGTH = 8 * 1024;
const MAX_FIELDS_LENGTH = 32 * 1024;

/** Lines that an isolate may log at once, and how many more each second. */
const BURST = 1_000;
const LINES_PER_SECOND = 1_000;

export function clipText(text: string): string {
  return text.length <= MAX_TEXT_LENGTH ? text : `${text.slice(0, MAX_TEXT_LENGTH)}…`;
}

/** Fields as JSON can carry them: what it cannot carry becomes text, what is too much is left out. */
export function plainFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  let length = 0;
  for (const [name, value] of Object.entries(fields)) {
    const text = fieldText(value);
    length += name.length + text.length;
    if (length > MAX_FIELDS_LENGTH) {
      plain["leftOut"] = `fields from ${JSON.stringify(name)} on: too long`;
      break;
    }
    plain[name] = JSON.parse(text);
  }
  return plain;
}

function fieldText(value: unknown): string {
  try {
    const text = JSON.stringify(value instanceof Error ? describe(value) : value, (_key, part) => {
      return typeof part === "bigint" ? part.toString() : part;
    });
    if (text !== undefined && text.length <= MAX_TEXT_LENGTH) return text;
    return JSON.stringify(clipText(text ?? String(value)));
  } catch {
    // A cycle, or a getter that throws: a log line never fails the task that writes it.
    return JSON.stringify("(a value that JSON cannot carry)");
  }
}

function describe(error: Error): string {
  return error.stack ?? `${error.name}: ${error.message}`;
}

/** Lets through so many lines at once and so many each second, and counts the others. */
export class LogBudget {
  readonly #monotonic: () => number;
  #tokens = BURST;
  #filledAt: number;
  #dropped = 0;

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
    this.#filledAt = monotonic();
  }

  /** Asks for one line. `dropped`: how many were refused since the last that was let through. */
  take(): { readonly allowed: false } | { readonly allowed: true; readonly dropped: number } {
    const now = this.#monotonic();
    this.#tokens = Math.min(
      BURST,
      this.#tokens + (now - this.#filledAt) * LINES_PER_SECOND / 1_000,
    );
    this.#filledAt = now;
    if (this.#tokens < 1) {
      this.#dropped += 1;
      return { allowed: false };
    }
    this.#tokens -= 1;
    const dropped = this.#dropped;
    this.#dropped = 0;
    return { allowed: true, dropped };
  }
}
