/**
 * Consumers for tests. What each handler gets is logged as "handled"; a body that is an order is obeyed
 * after that.
 */
import { consume, type ConsumeOptions, context, Reject, Retry } from "coxswain";

/** What a message can tell its handler to do. */
export type MessageOrder =
  | { readonly throw: string }
  /** Throws in so many attempts, then returns. */
  | { readonly throwTimes: number }
  | { readonly retry: `${number}ms` }
  | { readonly reject: string }
  | { readonly spin: true }
  /** Waits so many milliseconds. */
  | { readonly sleep: number }
  /** Waits until `context.signal` aborts, and throws its reason. */
  | { readonly untilAborted: true }
  | { readonly exit: number };

function define(options: ConsumeOptions): void {
  consume(options, async (body: unknown, envelope, properties) => {
    const isBytes = body instanceof Uint8Array;
    context.log.info("handled", {
      body: isBytes ? [...body] : body,
      kind: isBytes ? "bytes" : typeof body,
      envelope,
      properties: describe(properties),
      attempt: context.attempt,
      redelivered: context.redelivered,
      id: context.id,
      headers: context.request.headers,
    });
    await obey(body);
    context.log.info("finished", { queue: envelope.queue });
  });
}

/** With its values' own kinds, which JSON does not carry. */
function describe(value: unknown): unknown {
  if (typeof value === "bigint") return `bigint ${value}`;
  if (value instanceof Date) return `date ${value.toISOString()}`;
  if (value instanceof Uint8Array) return `bytes ${[...value].join(" ")}`;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(describe);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, describe(item)]));
}

async function obey(body: unknown): Promise<void> {
  if (typeof body !== "object" || body === null) return;
  const order = body as Record<string, unknown>;
  if ("throw" in order) throw new TypeError(String(order["throw"]));
  if ("throwTimes" in order && context.attempt <= Number(order["throwTimes"])) {
    throw new Error(`attempt ${context.attempt}`);
  }
  if ("retry" in order && context.attempt === 1) {
    throw new Retry({ after: String(order["retry"]) as `${number}ms` });
  }
  if ("reject" in order) throw new Reject(String(order["reject"]));
  if ("spin" in order) { while (true); }
  if ("sleep" in order) await new Promise((resolve) => setTimeout(resolve, Number(order["sleep"])));
  if ("untilAborted" in order) {
    const { signal } = context;
    await new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  }
  if ("exit" in order) process.exit(Number(order["exit"]));
}

const retry = { limit: 2, base: "20ms" } as const;

define({ queue: "plain", retry });
define({ queue: "short", timeout: "150ms", softTimeout: "100ms", retry });
define({ queue: "once", noAck: true });
define({ queue: "single", prefetch: 1, retry: { limit: 3, base: "200ms" } });
define({ queue: "topic.words", exchange: "t.topic", type: "topic", keys: ["a.*", "#.z"], retry });
define({ queue: "topic.all", exchange: "t.topic", type: "topic" });
define({ queue: "direct", exchange: "t.direct", type: "direct", keys: "k" });
define({ queue: "fanout.1", exchange: "t.fanout", type: "fanout" });
define({ queue: "fanout.2", exchange: "t.fanout", type: "fanout" });
define({
  queue: "headers",
  exchange: "t.headers",
  type: "headers",
  arguments: { "x-match": "any", color: "red", size: "big" },
});
