/**
 * Which tasks workers have that are none of ours: they announce none to us, but answer Celery's
 * `registered`. Asked only where a request has come that nobody of ours can run.
 */
import { getLogger } from "@logtape/logtape";
import * as v from "valibot";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { readJsonBody } from "../broker/json_body.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../broker/topology.ts";
import { celeryNodeName } from "../celery/node_name.ts";
import { JSON_TYPE } from "../calls/wire/names.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { newId } from "../platform/ids.ts";

const log = getLogger(["coxswain", "worker"]);

/** How long answers count: workers come and go in seconds. */
const FRESH_MS = 10_000;
/** How long workers may take to answer: what Celery's own `inspect` gives them. */
const ANSWER_WAIT_MS = 1_000;

/** By worker, its tasks: each a name, and more after it in brackets where it was asked for. */
const Answer = v.record(v.string(), v.array(v.string()));

export interface StrangersOptions {
  readonly broker: Pick<Broker, "declareExchange" | "openPrivateQueue" | "publish">;
  readonly clock?: Clock;
}

export class Strangers {
  readonly #options: StrangersOptions;
  readonly #clock: Clock;
  #tasks: ReadonlySet<string> = new Set();
  #askedAt = -Infinity;

  constructor(options: StrangersOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** As of the last answers; they are asked again where those are old. Unknown is no. */
  have(task: string): boolean {
    if (this.#clock.monotonic() - this.#askedAt > FRESH_MS) {
      this.#askedAt = this.#clock.monotonic();
      void this.#ask();
    }
    return this.#tasks.has(task);
  }

  /** Never rejects: where nobody can be asked, nobody has answered. */
  async #ask(): Promise<void> {
    const { broker } = this.#options;
    const replyKey = newId();
    try {
      await broker.declareExchange(CONTROL_EXCHANGE);
      await broker.declareExchange(CONTROL_REPLY_EXCHANGE);
      const queue = await broker.openPrivateQueue({
        prefix: "reply.celery.",
        bindings: [{ exchange: CONTROL_REPLY_EXCHANGE.name, routingKey: replyKey }],
      });
      const late = this.#clock.after(ANSWER_WAIT_MS, () => void queue.close());
      try {
        await broker.publish(question(replyKey));
        await this.#hear(queue);
      } finally {
        late.cancel();
        await queue.close();
      }
    } catch (error) {
      log.debug("Workers could not be asked for their tasks: {error}", { error });
    }
  }

  /** Until the queue is closed. */
  async #hear(queue: PrivateQueue): Promise<void> {
    const heard = new Set<string>();
    for await (const { message } of queue) {
      const answer = readJsonBody(Answer, message.body) ?? {};
      for (const [worker, tasks] of Object.entries(answer)) {
        if (worker.startsWith(celeryNodeName(""))) continue;
        for (const task of tasks) heard.add(task.split(" ", 1)[0] ?? task);
      }
      // At once, for who asks now; those that left are forgotten in the end.
      this.#tasks = new Set([...this.#tasks, ...heard]);
    }
    this.#tasks = heard;
  }
}

function question(replyKey: string) {
  const command = {
    method: "registered",
    arguments: { taskinfoitems: [] },
    destination: null,
    pattern: null,
    matcher: null,
    ticket: newId(),
    reply_to: { exchange: CONTROL_REPLY_EXCHANGE.name, routing_key: replyKey },
  };
  return {
    exchange: CONTROL_EXCHANGE.name,
    routingKey: "",
    properties: { contentType: JSON_TYPE, contentEncoding: "utf-8", headers: { clock: 0 } },
    body: new TextEncoder().encode(JSON.stringify(command)),
  };
}
