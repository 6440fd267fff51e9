/**
 * Hears the workers of Celery's that are on the same broker, for the roster. Changes nothing of theirs:
 * the exchange is declared as they declare it, the queue is this node's own, and they are asked for a
 * heartbeat as Celery's own monitors do.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../broker/errors.ts";
import { CELERY_EVENTS_EXCHANGE, CONTROL_EXCHANGE } from "../broker/topology.ts";
import type { Component } from "../lifecycle/component.ts";
import { type CeleryWorkerNews, decodeCeleryWorker } from "./celery_worker.ts";

const log = getLogger(["coxswain", "nodes"]);

export interface CeleryWatchOptions {
  readonly broker: Broker;
  readonly onNews: (news: CeleryWorkerNews) => void;
}

export class CeleryWatch implements Component {
  readonly #options: CeleryWatchOptions;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: CeleryWatchOptions) {
    this.#options = options;
  }

  /** Where the exchanges cannot be had, a front goes on without Celery's workers and says so. */
  async start(): Promise<void> {
    const { broker } = this.#options;
    try {
      await broker.declareExchange(CELERY_EVENTS_EXCHANGE);
      await broker.declareExchange(CONTROL_EXCHANGE);
    } catch (error) {
      if (!(error instanceof DeclarationError)) throw error;
      log.warn("Workers of Celery's are not listed: {reason}", { reason: error.message });
      return;
    }
    const queue = await broker.openPrivateQueue({
      prefix: "cox.celery.",
      bindings: [{ exchange: CELERY_EVENTS_EXCHANGE.name, routingKey: "worker.#" }],
    });
    this.#queue = queue;
    this.#loop = this.#listen(queue);
    queue.watch((name) => {
      if (name !== undefined) void this.#ask();
    });
    await this.#ask();
  }

  async stop(): Promise<void> {
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const news = decodeCeleryWorker(message.body);
      if (news !== undefined) this.#options.onNews(news);
    }
  }

  /** Asks all workers for a heartbeat now. Never rejects: their next one comes by itself. */
  async #ask(): Promise<void> {
    try {
      await this.#options.broker.publish({
        exchange: CONTROL_EXCHANGE.name,
        routingKey: "",
        properties: { contentType: "application/json", contentEncoding: "utf-8" },
        body: ASK,
      });
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("Workers of Celery's could not be asked for a heartbeat: {reason}", {
        reason: error.message,
      });
    }
  }
}

const ASK = new TextEncoder().encode(JSON.stringify({
  method: "heartbeat",
  arguments: {},
  destination: null,
  pattern: null,
  matcher: null,
}));
