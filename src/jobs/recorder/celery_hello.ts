/**
 * Tells Celery's workers that start which jobs must not run, as its workers tell each other: they ask on
 * `celery.pidbox` (`hello`). A job that was cancelled while none of them was there never runs then.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#revoke-revoking-tasks
 */
import { uptime } from "node:os";
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import { PublishRefusedError } from "../../broker/errors.ts";
import type { Delivery } from "../../broker/message.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../broker/topology.ts";
import { decodeCommand, encodeAnswer, isOver } from "../../celery/control/command.ts";
import { helloJson } from "../../celery/control/methods.ts";
import { celeryNodeName, isNodeOfOurs } from "../../celery/node_name.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";

const log = getLogger(["coxswain", "recorder"]);

/** As for our own workers, which ask in a way of their own. */
const CANCELLED_SINCE_MS = 3_600_000;

export interface CeleryHelloOptions {
  readonly broker: Broker;
  readonly store: Pick<Store, "cancelledIds">;
  readonly node: string;
  readonly clock: Clock;
}

export class CeleryHello {
  readonly #options: CeleryHelloOptions;

  constructor(options: CeleryHelloOptions) {
    this.#options = options;
  }

  /** Answers until the signal aborts. */
  async hear(signal: AbortSignal): Promise<void> {
    const { broker, node } = this.#options;
    await broker.declareExchange(CONTROL_EXCHANGE);
    await broker.declareExchange(CONTROL_REPLY_EXCHANGE);
    const queue = await broker.openPrivateQueue({
      prefix: `${node}.recorder.celery.pidbox.`,
      bindings: [{ exchange: CONTROL_EXCHANGE.name }],
    });
    const close = () => void queue.close();
    signal.addEventListener("abort", close, { once: true });
    if (signal.aborted) close();
    for await (const delivery of queue) await this.#answer(delivery);
    signal.removeEventListener("abort", close);
  }

  async #answer(delivery: Delivery): Promise<void> {
    const { broker, store, node, clock } = this.#options;
    const decoded = decodeCommand(delivery);
    if (decoded.kind === "malformed" || decoded.command.method !== "hello") return;
    const { command: { reply, args, destination }, command } = decoded;
    const isOurs = typeof args.from_node === "string" && isNodeOfOurs(args.from_node);
    if (reply === undefined || isOurs || destination.length > 0) return;
    if (isOver(command, clock.now())) return;
    try {
      const ids = await store.cancelledIds(clock.now() - CANCELLED_SINCE_MS);
      if (ids.length === 0) return;
      const valueJson = helloJson(ids.map((id) => ({ id, ageMs: 0 })), 0, uptime());
      const name = celeryNodeName(`${node}.recorder`);
      await broker.publish(encodeAnswer(reply, { name, valueJson, clock: 0 }));
    } catch (error) {
      if (!(error instanceof StoreAwayError || error instanceof PublishRefusedError)) throw error;
      log.warn("A Celery worker that starts was not told what is cancelled: {reason}", {
        reason: error.message,
      });
    }
  }
}
