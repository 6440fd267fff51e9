/**
 * Which names applications may give to exchanges and queues: the one rule for the configuration, task
 * files, HTTP and the command line.
 */

/** The types of exchanges that AMQP 0-9-1 knows (section 3.1.3). */
export const EXCHANGE_TYPES = ["fanout", "topic", "direct", "headers"] as const;

/** AMQP's short strings (section 4.2.5.3): names of exchanges, queues and tasks, and routing keys. */
const MAX_NAME_BYTES = 255;

/** Of this program, of brokers, and of Celery: its event and control exchanges, its default queue's. */
const RESERVED_EXCHANGE = /^(?:cox\.|amq\.|reply\.|celery)/;
/** A task queue may be called "celery": that is where a Celery worker takes tasks from by default. */
const RESERVED_QUEUE = /^(?:cox\.|amq\.|reply\.|celeryev(?:\.|$))|(?:^|\.)celery\.pidbox$/;

/** What is wrong with a name as such, or undefined. */
export function problemOfName(name: unknown): string | undefined {
  if (typeof name !== "string") return `must be a text, got ${typeof name}`;
  if (name.trim() === "") return "must not be empty";
  if (/\p{Cc}/u.test(name)) return "must not contain control characters";
  if (!name.isWellFormed()) return "must be well-formed Unicode";
  const bytes = byteLength(name);
  if (bytes > MAX_NAME_BYTES) return `must be at most ${MAX_NAME_BYTES} bytes, got ${bytes}`;
  return undefined;
}

/** Why an application may neither declare an exchange of this name nor publish to it, or undefined. */
export function problemOfExchange(name: unknown): string | undefined {
  const problem = problemOfName(name);
  if (problem !== undefined || typeof name !== "string") return problem;
  return RESERVED_EXCHANGE.test(name)
    ? 'is reserved: "cox.", "amq.", "reply." and "celery" begin names that are not an application\'s'
    : undefined;
}

/** Why an application may not have a queue of this name, or undefined. */
export function problemOfQueue(name: unknown): string | undefined {
  const problem = problemOfName(name);
  if (problem !== undefined || typeof name !== "string") return problem;
  return RESERVED_QUEUE.test(name)
    ? 'is reserved: "cox.", "amq." and "reply." begin names that are not an application\'s, and ' +
      "Celery's remote control and events have theirs"
    : undefined;
}

/** What is wrong with a routing key or a pattern of them, or undefined. It may be empty. */
export function problemOfKey(key: unknown): string | undefined {
  return key === "" ? undefined : problemOfName(key);
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
