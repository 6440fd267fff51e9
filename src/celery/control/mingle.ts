/**
 * A worker that starts asks the others what was revoked before it came (Celery's "mingle"), so that a
 * message which waits since then is not run by the one worker that does not know. It need not wait for
 * the answers: they come before most messages do.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../../broker/errors.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../broker/topology.ts";
import { JSON_TYPE } from "../../calls/wire/names.ts";
import type { Clock, Timer } from "../../lifecycle/clock.ts";

const log = getLogger(["coxswain", "celery"]);

/** Answers that come later than that are not heard. */
const LISTEN_MS = 5_000;
/** As many as a worker of Celery's remembers. */
const MAX_IDS = 50_000;
const MAX_BYTES = 16 * 2 ** 20;

export interface MingleOptions {
  readonly broker: Broker;
  /** This worker's name among Celery's. */
  readonly name: string;
  readonly revoke: (ids: readonly string[]) => void;
  readonly clock: Clock;
}

export class Mingle {
  readonly #options: MingleOptions;
  #queue: PrivateQueue | undefined;
  #timer: Timer | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: MingleOptions) {
    this.#options = options;
  }

  /** Asks, and hears the answers for a while. @throws BrokerAwayError */
  async start(): Promise<void> {
    const { broker, name, clock } = this.#options;
    const key = crypto.randomUUID();
    const queue = await broker.openPrivateQueue({
      prefix: "cox.mingle.",
      bindings: [{ exchange: CONTROL_REPLY_EXCHANGE.name, routingKey: key }],
    });
    this.#queue = queue;
    this.#loop = this.#listen(queue);
    this.#timer = clock.after(LISTEN_MS, () => void queue.close());
    try {
      await broker.publish({
        exchange: CONTROL_EXCHANGE.name,
        routingKey: "",
        properties: { contentType: JSON_TYPE, contentEncoding: "utf-8" },
        body: encoder.encode(JSON.stringify({
          method: "hello",
          arguments: { from_node: name, revoked: {} },
          destination: null,
          pattern: null,
          matcher: null,
          ticket: key,
          reply_to: { exchange: CONTROL_REPLY_EXCHANGE.name, routing_key: key },
        })),
      });
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("Other workers could not be asked what was revoked: {reason}", {
        reason: error.message,
      });
    }
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const ids = revokedIds(message.body);
      if (ids.length > 0) this.#options.revoke(ids);
    }
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The ids of an answer `{"<node>": {revoked: {id: …}}}`; none for all that is no such answer. */
export function revokedIds(body: Uint8Array): readonly string[] {
  if (body.length > MAX_BYTES) return [];
  let answer: unknown;
  try {
    answer = JSON.parse(decoder.decode(body));
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
  return Object.values(membersOf(answer))
    .flatMap((value) => Object.keys(membersOf(membersOf(value)["revoked"])))
    .slice(-MAX_IDS);
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}
