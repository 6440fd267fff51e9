/**
 * Accepts jobs: makes each durable, then tells its id. What its record becomes afterwards is the
 * recorder's.
 *
 * Three roads. At once: its message into its queue, then the event that tells of it. Later: the event
 * alone, which carries the whole request; the recorder publishes it when it is due, or, where there is
 * none, the message goes out now with Celery's eta and a worker holds it. With a key: first into the
 * store, which judges it, then as the others.
 *
 * The message goes before its event, and not beside it: an event whose message was lost on the way
 * would be the record of a job that never runs. The other way round the worker's own events make the
 * record. Many wait for their confirms at once, so it costs a moment of each and nothing of the rate.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PublishResult } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { CELERY_REPLIES_QUEUE, taskQueue } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import type { TaskDirectory } from "../nodes/announcement.ts";
import { type Destination, destinationOf, NO_ROUTES, type TaskRoutes } from "../nodes/routes.ts";
import { newId } from "../platform/ids.ts";
import { StoreAwayError, StoreRefusedError } from "../store/errors.ts";
import type { Created, NewJob, Store } from "../store/store.ts";
import type { Acceptance, EnqueueRequest, JobAcceptor } from "./acceptance.ts";
import { JobEventPublisher } from "./event_publisher.ts";
import { IDEMPOTENCY_KEPT_MS } from "./idempotency.ts";
import { type BeginningEvent, eventBase, type JobRequest, publishedEvent } from "./job_event.ts";
import { jobMessage } from "./job_message.ts";
import { RecorderPresence } from "./recorder_presence.ts";
import { applyEvent } from "./states.ts";
import type { YoungJobs } from "./young_jobs.ts";

const log = getLogger(["coxswain", "jobs"]);

/** How long an event waits for a broker that is away. */
const EVENT_PATIENCE_MS = 60_000;
/** How long whoever asks waits for the broker to confirm an event. */
const ANSWER_PATIENCE_MS = 5_000;
/**
 * A job that is in the store and whose message nobody has published by then is published by the
 * recorder: its front has died between the two.
 */
const PUBLISHED_WITHIN_MS = 10_000;
/** Jobs with keys that one transaction of the store takes. */
const MAX_CREATED_TOGETHER = 500;

export interface EnqueuerOptions {
  readonly broker: Broker;
  readonly directory: Pick<TaskDirectory, "descriptor" | "settled" | "isSettled">;
  /** Default: none. */
  readonly routes?: TaskRoutes;
  readonly node: string;
  readonly version: string;
  /** Where keys are kept; absent: jobs with keys are refused. */
  readonly store?: Pick<Store, "create">;
  /** Where what was accepted is remembered for those who ask at once. */
  readonly young?: YoungJobs;
  /** Of a queue that somebody has deleted. */
  readonly queueType: "classic" | "quorum";
  /** Most jobs that may be on their way at once. */
  readonly maxUnderway: number;
  readonly clock?: Clock;
}

/** It was published to a queue of somebody else's that is not there. */
class UnknownQueueError extends PublishRefusedError {
  override readonly name = "UnknownQueueError";
}

interface Draft {
  readonly event: Extract<BeginningEvent, { kind: "accepted" }>;
  readonly isDelayed: boolean;
  /** Workers of ours take it: their queue is declared where it is gone. */
  readonly isOurs: boolean;
}

interface Creation {
  readonly job: NewJob;
  readonly resolve: (created: Created) => void;
  readonly reject: (error: unknown) => void;
}

export class Enqueuer implements JobAcceptor, Component {
  readonly #options: EnqueuerOptions;
  readonly #clock: Clock;
  readonly #events: JobEventPublisher;
  readonly #recorder: RecorderPresence;
  readonly #declaring = new Map<string, Promise<void>>();
  #creations: Creation[] = [];
  #underway = 0;

  constructor(options: EnqueuerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#events = new JobEventPublisher({
      broker: options.broker,
      patienceMs: EVENT_PATIENCE_MS,
    });
    this.#recorder = new RecorderPresence({ broker: options.broker, clock: this.#clock });
  }

  /** Jobs that are being accepted now. */
  get underway(): number {
    return this.#underway;
  }

  async start(): Promise<void> {
    await JobEventPublisher.declare(this.#options.broker);
    await this.#options.broker.declareQueue(CELERY_REPLIES_QUEUE);
  }

  /** Nothing is held: what is under way ends with the broker's connection. */
  stop(): Promise<void> {
    return Promise.resolve();
  }

  acceptMany(requests: readonly EnqueueRequest[]): Promise<readonly Acceptance[]> {
    return Promise.all(requests.map((request) => this.accept(request)));
  }

  accept(request: EnqueueRequest): Promise<Acceptance> {
    const { maxUnderway } = this.#options;
    if (this.#underway >= maxUnderway) {
      return Promise.resolve({ kind: "too_many_underway", limit: maxUnderway });
    }
    const away = this.#away();
    if (away !== undefined) return Promise.resolve(away);
    this.#underway++;
    const destination = this.#destination(request);
    const accepted = destination === undefined
      ? this.#acceptUnknown(request)
      : this.#acceptKnown(request, destination);
    return accepted.finally(() => this.#underway--);
  }

  #destination({ task, options }: EnqueueRequest): Destination | undefined {
    const { directory, routes = NO_ROUTES } = this.#options;
    return destinationOf(task, options?.queue, directory.descriptor(task), routes);
  }

  /** It may only not be known yet: a front that has just connected waits for announcements. */
  async #acceptUnknown(request: EnqueueRequest): Promise<Acceptance> {
    const { directory } = this.#options;
    if (!directory.isSettled) await directory.settled();
    const destination = this.#destination(request);
    return destination === undefined
      ? { kind: "unknown_task", task: request.task }
      : await this.#acceptKnown(request, destination);
  }

  async #acceptKnown(
    request: EnqueueRequest,
    destination: Destination,
  ): Promise<Acceptance> {
    const { store, broker } = this.#options;
    const { queue, isOurs } = destination;
    const hasKey = request.idempotency !== undefined || request.options?.uniqueKey !== undefined;
    const draft = this.#draft(request, destination);
    try {
      // What is published at once is told by the broker where there is no such queue.
      const isLooked = !isOurs && (hasKey || draft.isDelayed);
      if (isLooked && await broker.inspectQueue(queue) === undefined) {
        return { kind: "unknown_queue", queue };
      }
      if (hasKey) {
        return store === undefined ? NO_STORE : await this.#acceptWithKey(draft, request);
      }
      return draft.isDelayed ? await this.#acceptLater(draft) : await this.#acceptNow(draft);
    } catch (error) {
      if (error instanceof UnknownQueueError) return { kind: "unknown_queue", queue };
      if (error instanceof PublishRefusedError || error instanceof DeclarationError) {
        return { kind: "refused", message: error.message };
      }
      if (error instanceof BrokerAwayError) {
        const { id } = draft.event;
        const message = `The broker was lost while job ${id} was on its way: ` +
          `it may have been accepted (${error.message})`;
        return { kind: "outcome_unknown", id, message };
      }
      throw error;
    }
  }

  /** @param etaAt where a worker is to hold it until then. */
  async #acceptNow({ event, isOurs }: Draft, etaAt?: number): Promise<Acceptance> {
    const away = await this.#publishMessage(event, isOurs, etaAt);
    if (away !== undefined) return away;
    this.#options.young?.remember(event);
    await this.#patiently(this.#events.publish(event), event.id);
    return answer(event, etaAt !== undefined);
  }

  async #acceptLater(draft: Draft): Promise<Acceptance> {
    const { event } = draft;
    const etaAt = event.request.terms.etaAt ?? event.at;
    const isRecorded = await this.#isRecorded();
    if (typeof isRecorded === "string") return { kind: "broker_away", message: isRecorded };
    if (!isRecorded) return await this.#acceptNow(draft, etaAt);
    const scheduled: BeginningEvent = { ...event, kind: "scheduled", dueAt: etaAt };
    if (!await this.#inTime(this.#events.publish(scheduled))) {
      throw new BrokerAwayError("it did not confirm in time");
    }
    this.#options.young?.remember(scheduled);
    return answer(event, true);
  }

  /** Whether a recorder is there; a text: why the broker cannot be asked. */
  async #isRecorded(): Promise<boolean | string> {
    try {
      return await this.#recorder.isThere();
    } catch (error) {
      if (error instanceof BrokerAwayError) return error.message;
      throw error;
    }
  }

  /** Once the store has it, it is accepted, whatever becomes of the broker. */
  async #acceptWithKey(
    { event, isDelayed, isOurs }: Draft,
    { idempotency }: EnqueueRequest,
  ): Promise<Acceptance> {
    const dueAt = isDelayed
      ? event.request.terms.etaAt ?? event.at
      : event.at + PUBLISHED_WITHIN_MS;
    const scheduled: BeginningEvent = { ...event, kind: "scheduled", dueAt };
    let created: Created;
    try {
      created = await this.#create({
        event: scheduled,
        ...(idempotency === undefined ? {} : { idempotency }),
      });
    } catch (error) {
      if (!(error instanceof StoreAwayError || error instanceof StoreRefusedError)) throw error;
      return {
        kind: "store_away",
        message: `The store is away, and a key cannot be judged without it: ${error.message}`,
      };
    }
    switch (created.kind) {
      case "existing":
        return { kind: "existing", id: created.id, by: created.by };
      case "conflict":
        return { kind: "conflict", id: created.id, key: idempotency?.key ?? "" };
      case "created":
        break;
    }
    // The recorder learns from it when the next job is due, and whoever watches that there is one.
    if (isDelayed) this.#events.tell(scheduled);
    else await this.#publishCreated(scheduled, isOurs);
    return answer(event, isDelayed);
  }

  async #publishCreated(scheduled: BeginningEvent, isOurs: boolean): Promise<void> {
    const { id } = scheduled;
    try {
      if (await this.#publishMessage(scheduled, isOurs) !== undefined) return;
      const published = publishedEvent(applyEvent(undefined, scheduled), this.#clock.now());
      await this.#patiently(this.#events.publish(published), id);
    } catch (error) {
      if (error instanceof BrokerAwayError) {
        log.debug("The recorder is to publish a job: {error}", { jobId: id, error });
        return;
      }
      if (!(error instanceof PublishRefusedError || error instanceof DeclarationError)) throw error;
      // Nobody will ever be able to publish it.
      this.#events.tell({
        ...eventBase(applyEvent(undefined, scheduled), this.#clock.now()),
        kind: "outcome",
        outcome: { kind: "failed", error: { type: error.name, message: error.message } },
        settles: false,
      });
      throw error;
    }
  }

  /**
   * Publishes a job's message; a queue of ours that is not there is declared as its worker would.
   * Another's is not: declared in our way, its own workers could not declare it in theirs.
   * @returns why nothing was published, or undefined.
   * @throws BrokerAwayError where it may have been taken, PublishRefusedError, DeclarationError.
   */
  async #publishMessage(
    event: BeginningEvent,
    isOurs: boolean,
    etaAt?: number,
  ): Promise<Acceptance | undefined> {
    const { node, version } = this.#options;
    const written = jobMessage(
      { ...event, firstAttempt: 1, ...event.request },
      1,
      { node, version },
      etaAt,
    );
    const message = written instanceof Promise ? await written : written;
    const away = this.#away();
    if (away !== undefined) return away;
    if (await this.#publish(message) !== "returned") return undefined;
    if (!isOurs) throw new UnknownQueueError(`There is no queue "${message.routingKey}"`);
    await this.#declare(message.routingKey);
    if (await this.#publish(message) !== "returned") return undefined;
    throw new PublishRefusedError(`The queue "${message.routingKey}" does not take messages`);
  }

  #publish(message: Message): Promise<PublishResult> {
    return this.#options.broker.publish(message, { confirm: true, mandatory: true });
  }

  #declare(queue: string): Promise<void> {
    const { broker, queueType } = this.#options;
    const known = this.#declaring.get(queue);
    if (known !== undefined) return known;
    const declaring = broker.declareQueue(taskQueue(queue, queueType)).then(
      () => log.warn("Declared a queue that was gone", { queue }),
    ).finally(() => this.#declaring.delete(queue));
    this.#declaring.set(queue, declaring);
    return declaring;
  }

  /** What was accepted stays accepted where its event is late: whoever runs it tells of it too. */
  async #patiently(told: Promise<void>, jobId: string): Promise<void> {
    const failed = (error: unknown) => {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.warn("A job was accepted, and its record has to wait until it runs: {error}", {
        jobId,
        error,
      });
    };
    await this.#inTime(told.catch(failed));
  }

  /** Whether it resolved while somebody waits for it. */
  async #inTime(told: Promise<void>): Promise<boolean> {
    const late = Promise.withResolvers<boolean>();
    const timer = this.#clock.after(ANSWER_PATIENCE_MS, () => late.resolve(false));
    // It may fail when nobody waits any more.
    told.catch((error: unknown) => log.debug("A job event was lost: {error}", { error }));
    try {
      return await Promise.race([told.then(() => true), late.promise]);
    } finally {
      timer.cancel();
    }
  }

  /** What is asked in one turn is one transaction, judged in order. */
  #create(job: NewJob): Promise<Created> {
    return new Promise((resolve, reject) => {
      this.#creations.push({ job, resolve, reject });
      if (this.#creations.length === 1) queueMicrotask(() => this.#createAll());
    });
  }

  #createAll(): void {
    const { store } = this.#options;
    const creations = this.#creations;
    this.#creations = [];
    for (let at = 0; at < creations.length; at += MAX_CREATED_TOGETHER) {
      const group = creations.slice(at, at + MAX_CREATED_TOGETHER);
      store?.create(group.map(({ job }) => job), this.#clock.now() - IDEMPOTENCY_KEPT_MS).then(
        (created) => {
          for (const [index, one] of created.entries()) group[index]?.resolve(one);
        },
        (error: unknown) => {
          for (const { reject } of group) reject(error);
        },
      );
    }
  }

  #draft(
    { task, input, options = {}, headers = {}, idempotency, parent }: EnqueueRequest,
    { queue, descriptor, isOurs }: Destination,
  ): Draft {
    const now = this.#clock.now();
    const { queue: _named, ...terms } = options;
    const asked: JobRequest = {
      terms: {
        ...terms,
        ...(idempotency === undefined ? {} : { idempotencyKey: idempotency.key }),
        ...(descriptor?.redact === undefined ? {} : { redacted: descriptor.redact }),
        ...(isOurs ? {} : { replyTo: CELERY_REPLIES_QUEUE.name }),
      },
      payload: { input, headers },
    };
    return {
      event: {
        kind: "accepted",
        id: newId(),
        task,
        queue,
        createdAt: now,
        ...(parent === undefined ? {} : { rootId: parent.rootId, parentId: parent.id }),
        attempt: 1,
        seq: now,
        at: now,
        request: asked,
      },
      isDelayed: (options.etaAt ?? 0) > now,
      isOurs,
    };
  }

  #away(): Extract<Acceptance, { kind: "broker_away" }> | undefined {
    const { state } = this.#options.broker;
    switch (state.kind) {
      case "connected":
        return state.blocked === undefined ? undefined : {
          kind: "broker_away",
          message: `The broker takes no messages: ${state.blocked}`,
        };
      case "away":
        return { kind: "broker_away", message: `The broker is away: ${state.reason}` };
      case "idle":
      case "stopped":
        return { kind: "broker_away", message: "The broker connection is closed" };
    }
  }
}

const NO_STORE: Acceptance = {
  kind: "no_store",
  message: "This node keeps no job records (--no-recorder), so it cannot judge a key: " +
    "ask a front that does, or leave the key out",
};

function answer({ id, createdAt }: BeginningEvent, isDelayed: boolean): Acceptance {
  return { kind: "accepted", id, createdAt, isDelayed };
}
