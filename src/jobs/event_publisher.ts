/**
 * Job events on their way to the recorder. What comes while a message is on its way goes together in
 * the next: one event in one message where little happens, many where much does, and nobody waits for
 * a timer. (One message for each outcome costs the broker, the disk and the recorder as much as the
 * job itself.)
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { JOBS_EXCHANGE, RECORDER_BINDING, RECORDER_QUEUE } from "../broker/topology.ts";
import { encodeJobEvents, type JobEvent, jobEventKey } from "./job_event.ts";
import { withinLimits } from "./limits.ts";

const log = getLogger(["coxswain", "jobs"]);

/** Messages on their way at once: while one is written to the broker's disk, the next is filled. */
const MAX_UNDERWAY = 2;
const MAX_EVENTS = 200;
/** Roughly, in characters of JSON text: one event may be larger, and then travels alone. */
const MAX_CHARACTERS = 256 * 1024;

export interface EventPublisherOptions {
  readonly broker: Broker;
  /** How long events wait for a broker that is away, in milliseconds. */
  readonly patienceMs: number;
}

interface Waiting {
  readonly event: JobEvent;
  readonly size: number;
  readonly settled: PromiseWithResolvers<void> | undefined;
}

export class JobEventPublisher {
  readonly #options: EventPublisherOptions;
  #waiting: Waiting[] = [];
  #underway = 0;
  #isScheduled = false;

  constructor(options: EventPublisherOptions) {
    this.#options = options;
  }

  /** Declares where events go. Idempotent. */
  static async declare(broker: Broker): Promise<void> {
    await broker.declareExchange(JOBS_EXCHANGE);
    await broker.declareQueue(RECORDER_QUEUE);
    await broker.bind(RECORDER_BINDING);
  }

  /**
   * Publishes an event; resolves when the broker has it in the recorder's queue, on disk.
   * @throws BrokerAwayError when the broker stayed away, PublishRefusedError when it said no.
   */
  publish(event: JobEvent): Promise<void> {
    const settled = Promise.withResolvers<void>();
    this.#add(event, settled);
    return settled.promise;
  }

  /** Publishes an event that may be lost: others tell as much (a start, a progress). */
  tell(event: JobEvent): void {
    this.#add(event, undefined);
  }

  #add(event: JobEvent, settled: PromiseWithResolvers<void> | undefined): void {
    const limited = withinLimits(event);
    this.#waiting.push({ event: limited, size: sizeOf(limited), settled });
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // What comes in this turn goes together.
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#underway < MAX_UNDERWAY) {
      const group = this.#takeGroup();
      this.#underway++;
      this.#publishGroup(group.map(({ event }) => event)).then(
        () => {
          for (const { settled } of group) settled?.resolve();
        },
        (error: unknown) => {
          for (const { settled } of group) settled?.reject(error);
          if (group.some(({ settled }) => settled === undefined)) {
            log.debug("Job events could not be told: {error}", { error });
          }
        },
      ).finally(() => {
        this.#underway--;
        this.#send();
      });
    }
  }

  #takeGroup(): readonly Waiting[] {
    let size = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      size += waiting.size;
      if (count > 0 && (count >= MAX_EVENTS || size > MAX_CHARACTERS)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #publishGroup(events: readonly JobEvent[]): Promise<void> {
    const message: Message = {
      exchange: JOBS_EXCHANGE.name,
      routingKey: jobEventKey(events),
      properties: { contentType: "application/json", persistent: true },
      body: encodeJobEvents(events),
    };
    if (await this.#publish(message) !== "returned") return;
    // Somebody has deleted the queue since it was declared.
    await JobEventPublisher.declare(this.#options.broker);
    if (await this.#publish(message) !== "returned") return;
    throw new PublishRefusedError(
      `Cannot publish job events: the queue "${RECORDER_QUEUE.name}" does not get them`,
    );
  }

  #publish(message: Message) {
    const { broker, patienceMs } = this.#options;
    return publishPatiently(broker, message, { confirm: true, mandatory: true }, patienceMs);
  }
}

/** Characters that an event takes at least: what may be large in it. */
function sizeOf(event: JobEvent): number {
  const request = event.request?.payload.input;
  const asked = request === undefined ? 0 : request.argsJson.length + request.kwargsJson.length;
  const result = event.kind === "outcome" && event.outcome.kind === "succeeded"
    ? event.outcome.resultJson?.length ?? 0
    : 0;
  return 512 + asked + result;
}
