/**
 * The caller over a broker: publishes calls, keeps those that wait, and gives each its one ending on
 * time. How requests and replies are written is wire/.
 *
 * A pending call's life: waiting → started (a worker's notice came) → ended. Its own clock ends it
 * where nobody else does: `expires` after its publish while waiting (then it is expiring, until the
 * broker has shown that it would have been heard), limit + margin once started. A Celery worker sends
 * no notice: at `expires` workers are asked who has a call that one of them may have.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { CONTROL_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import type { TaskDirectory } from "../nodes/announcement.ts";
import { type Destination, destinationOf, NO_ROUTES, type TaskRoutes } from "../nodes/routes.ts";
import { newId } from "../platform/ids.ts";
import type { Caller, CallInput, CallOptions } from "./call.ts";
import { celeryExpiry } from "./celery_expiry.ts";
import { CeleryInquiry } from "./celery_inquiry.ts";
import type { Ending } from "./outcome.ts";
import { encodeRevocation } from "./wire/control_message.ts";
import { type DecodedReply, decodeReply } from "./wire/reply_message.ts";
import { encodeTask } from "./wire/task_message.ts";

const log = getLogger(["coxswain", "calls"]);

/** A worker tells that an attempt runs once it has run for this long. */
export const STARTED_NOTICE_AFTER_MS = 100;
/** What a notice or a revocation may take on its way at `expires`. */
const NOTICE_MARGIN_MS = 100;
/** What the answer of a worker that stops an attempt at its limit may take on its way. */
const ANSWER_MARGIN_MS = 2_000;
/**
 * How long the broker may take to show that it is still heard. Without that nobody knows whether an
 * answer was lost on its way.
 */
const HEARD_LIMIT_MS = 2_000;
/** Limit of a task that nobody has announced (a call to a named queue), where its caller gives none. */
const UNKNOWN_TASK_LIMIT_MS = 300_000;
/**
 * The broker keeps a call that may be a Celery worker's for so long after it has expired, while it is
 * asked for: whether it is still in its queue says whether somebody has taken it.
 */
const KEPT_IN_QUEUE_MS = 1_500;
/** How often a call is published again that Celery workers of a shared queue threw away, as hops are. */
const MAX_STRAYED = 10;
const STRAYED_PAUSE_MS = 50;
/** Pause before a call that reached no queue is published again, until it expires. */
const UNROUTABLE_PAUSE_MS = 250;

export interface BrokerCallerOptions {
  readonly broker: Broker;
  readonly directory: TaskDirectory;
  /** Default: none. */
  readonly routes?: TaskRoutes;
  readonly node: string;
  readonly version: string;
  /** How long a call may wait for a worker where it does not say, in milliseconds. */
  readonly expiresMs: number;
  /** Most calls that may wait for their ending at once. */
  readonly maxPending: number;
  /** Most bytes that a compressed reply may inflate to. */
  readonly maxReplyBytes: number;
  readonly clock?: Clock;
}

interface Pending {
  readonly id: string;
  readonly limitMs: number;
  readonly resolve: (ending: Ending) => void;
  /** Monotonic instant at which it expires. */
  readonly expiresAt: number;
  /** Workers of ours take it: they send notices, and their queue comes back where it is gone. */
  readonly isOurs: boolean;
  readonly message: Message;
  /** How often a Celery worker has thrown it away that lacks its task. */
  strayed: number;
  state: "waiting" | "started" | "asking" | "expiring";
  timer: Timer | undefined;
  republish: Timer | undefined;
}

export class BrokerCaller implements Caller, Component {
  readonly #options: BrokerCallerOptions;
  readonly #broker: Broker;
  readonly #clock: Clock;
  readonly #routes: TaskRoutes;
  readonly #inquiry: CeleryInquiry;
  readonly #pending = new Map<string, Pending>();
  #replies: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  /** One question serves all calls that expire while it is asked. */
  #hearing: Promise<boolean> | undefined;
  #unwatch: (() => void)[] = [];

  constructor(options: BrokerCallerOptions) {
    this.#options = options;
    this.#broker = options.broker;
    this.#clock = options.clock ?? systemClock;
    this.#routes = options.routes ?? NO_ROUTES;
    this.#inquiry = new CeleryInquiry(options.broker, this.#clock);
  }

  get pending(): number {
    return this.#pending.size;
  }

  async start(): Promise<void> {
    await this.#broker.declareExchange(CONTROL_EXCHANGE);
    this.#replies = await this.#broker.openPrivateQueue({ prefix: "reply." });
    this.#unwatch = [
      this.#replies.watch((name) => {
        if (name === undefined) this.#connectionLost();
      }),
      this.#broker.watchReturns((message) => this.#returned(message)),
    ];
    this.#loop = this.#listen(this.#replies);
  }

  /** Ends what still waits as unknown: nobody would read its answer. */
  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    this.#unwatch = [];
    for (const pending of this.#pending.values()) {
      this.#end(pending, {
        kind: "outcome_unknown",
        message: "This node stopped while the call waited: it may have run",
      });
    }
    await this.#inquiry.stop();
    await this.#replies?.close();
    await this.#loop;
  }

  call(
    task: string,
    input: CallInput,
    options: CallOptions = {},
    signal?: AbortSignal,
  ): Promise<Ending> {
    if (signal?.aborted) return Promise.resolve({ kind: "cancelled" });
    if (this.#pending.size >= this.#options.maxPending) {
      return Promise.resolve({ kind: "too_many_waiting", limit: this.#options.maxPending });
    }
    const away = this.#whyAway();
    if (away !== undefined) return Promise.resolve({ kind: "broker_away", message: away });
    const destination = this.#destination(task, options);
    if (destination === undefined) return this.#callUnknown(task, input, options, signal);
    return this.#publish(task, destination, input, options, signal);
  }

  #destination(task: string, { queue }: CallOptions): Destination | undefined {
    return destinationOf(task, queue, this.#options.directory.descriptor(task), this.#routes);
  }

  /** It may only not be known yet: a front that has just connected waits for announcements. */
  async #callUnknown(
    task: string,
    input: CallInput,
    options: CallOptions,
    signal: AbortSignal | undefined,
  ): Promise<Ending> {
    const { directory } = this.#options;
    if (!directory.isSettled) {
      await directory.settled();
      if (signal?.aborted) return { kind: "cancelled" };
      const away = this.#whyAway();
      if (away !== undefined) return { kind: "broker_away", message: away };
    }
    const destination = this.#destination(task, options);
    if (destination === undefined) return { kind: "unknown_task", task };
    return await this.#publish(task, destination, input, options, signal);
  }

  #publish(
    task: string,
    { queue, descriptor, isOurs }: Destination,
    input: CallInput,
    options: CallOptions,
    signal: AbortSignal | undefined,
  ): Promise<Ending> {
    const id = newId();
    const expiresMs = options.expiresMs ?? this.#options.expiresMs;
    const limitMs = Math.min(
      options.timeoutMs ?? descriptor?.timeoutMs ?? UNKNOWN_TASK_LIMIT_MS,
      descriptor?.timeoutMs ?? Infinity,
    );
    // Celery 5.2 cannot try a task again whose message has the header (its `send_task` compares a text
    // with a number). The broker drops the call, and whoever holds it is told not to run it.
    const expires = isOurs
      ? { expires: { at: this.#clock.now() + expiresMs, inMs: Math.ceil(expiresMs) } }
      : { expirationMs: Math.ceil(expiresMs) + KEPT_IN_QUEUE_MS };
    const request = encodeTask({
      id,
      task,
      input,
      kind: "call",
      queue,
      replyTo: this.#replies?.name ?? "",
      ...expires,
      timeoutMs: Math.ceil(limitMs),
      headers: options.headers ?? {},
      origin: this.#options.node,
      version: this.#options.version,
      ...(options.priority === undefined ? {} : { priority: options.priority }),
      ...(options.persistent === undefined ? {} : { persistent: options.persistent }),
      ...(options.once === undefined ? {} : { once: options.once }),
    });
    const expiresAt = this.#clock.monotonic() + expiresMs;
    const terms = { id, limitMs, expiresAt, isOurs };
    return request instanceof Promise
      ? request.then((message) => this.#send(message, terms, signal))
      : this.#send(request, terms, signal);
  }

  #send(
    message: Message,
    terms: Pick<Pending, "id" | "limitMs" | "expiresAt" | "isOurs">,
    signal: AbortSignal | undefined,
  ): Promise<Ending> {
    // While a large body was compressed.
    if (signal?.aborted) return Promise.resolve({ kind: "cancelled" });
    const { id, expiresAt } = terms;
    return new Promise<Ending>((resolve) => {
      const onAbort = () => this.#cancel(pending);
      const pending: Pending = {
        ...terms,
        message,
        resolve: signal === undefined ? resolve : (ending) => {
          signal.removeEventListener("abort", onAbort);
          resolve(ending);
        },
        strayed: 0,
        state: "waiting",
        timer: undefined,
        republish: undefined,
      };
      this.#pending.set(id, pending);
      signal?.addEventListener("abort", onAbort, { once: true });
      const expiresInMs = expiresAt - this.#clock.monotonic();
      pending.timer = this.#clock.after(
        expiresInMs + STARTED_NOTICE_AFTER_MS + NOTICE_MARGIN_MS,
        () => pending.isOurs ? this.#expire(pending) : void this.#askForIt(pending),
      );
      this.#handOn(pending);
    });
  }

  /** Publishes without a confirm: a call that is lost expires. */
  #handOn(pending: Pending): void {
    this.#broker.publish(pending.message, { mandatory: true }).then(undefined, (error: unknown) => {
      if (error instanceof PublishRefusedError) {
        this.#end(pending, { kind: "refused", message: error.message });
      } else if (error instanceof BrokerAwayError) {
        this.#end(pending, { kind: "broker_away", message: error.message });
      } else {
        log.error("A call could not be published: {error}", { callId: pending.id, error });
        this.#end(pending, { kind: "broker_away", message: String(error) });
      }
    });
  }

  async #listen(replies: PrivateQueue): Promise<void> {
    for await (const delivery of replies) {
      const pending = this.#pending.get(delivery.message.properties.correlationId ?? "");
      if (pending === undefined) continue;
      const reply = decodeReply(delivery, this.#options.maxReplyBytes);
      if (reply instanceof Promise) void reply.then((reply) => this.#replied(pending, reply));
      else this.#replied(pending, reply);
    }
  }

  #replied(pending: Pending, reply: DecodedReply): void {
    switch (reply.kind) {
      case "ending":
        // A worker that heard our own revocation: the call expires.
        if (pending.state === "expiring" && reply.ending.kind === "cancelled") return;
        if (reply.ending.kind === "not_registered" && this.#straysAgain(pending)) return;
        this.#end(pending, reply.ending);
        break;
      case "started":
        // Told again after a redelivery: the second worker has the whole limit once more.
        this.#started(pending, pending.limitMs);
        break;
      case "retrying":
      case "progress":
        // However often it tells so, it has no more time than it would have from its start.
        this.#started(pending, this.#leftMs(pending));
        break;
      case "other":
        break;
    }
  }

  /**
   * A Celery worker that shares the queue of a task of ours took the call, and threw it away: it is
   * published again for those that have the task. @returns whether it is.
   */
  #straysAgain(pending: Pending): boolean {
    if (!pending.isOurs || pending.strayed >= MAX_STRAYED) return false;
    pending.strayed++;
    this.#publishAgain(pending, STRAYED_PAUSE_MS);
    return true;
  }

  #started(pending: Pending, leftMs: number): void {
    pending.state = "started";
    pending.timer?.cancel();
    pending.timer = this.#clock.after(leftMs + ANSWER_MARGIN_MS, () => this.#overdue(pending));
  }

  /** How long a call may still take that begins when it expires. */
  #leftMs({ expiresAt, limitMs }: Pending): number {
    return Math.max(0, expiresAt + limitMs - this.#clock.monotonic());
  }

  /** It expires, and may be with a worker that sends no notices. */
  async #askForIt(pending: Pending): Promise<void> {
    pending.state = "asking";
    const { routingKey: queue } = pending.message;
    const [place, status] = await Promise.all([
      this.#inquiry.find(pending.id),
      this.#broker.inspectQueue(queue).catch((error: unknown) => {
        if (!(error instanceof BrokerAwayError)) throw error;
        // The loss of the connection ends the call.
        return undefined;
      }),
    ]);
    // It has begun, or ended, meanwhile.
    if (pending.state !== "asking" || !this.#pending.has(pending.id)) return;
    switch (celeryExpiry(place.kind, status)) {
      case "runs":
        return this.#started(pending, pending.limitMs);
      case "unknown":
        return this.#started(pending, this.#leftMs(pending));
      case "expired":
        return this.#expire(pending);
      case "no_result":
        this.#revoke(pending);
        this.#end(pending, {
          kind: "outcome_unknown",
          message: `A worker took the call from queue "${queue}", and no worker has it any more: ` +
            "the task keeps its result to itself (ignore_result, Ignore, Reject), its results do " +
            "not go over rpc://, or its worker was lost",
        });
    }
  }

  /** Nobody said in time that it runs. Whoever takes it from now on is told not to. */
  #expire(pending: Pending): void {
    pending.state = "expiring";
    this.#revoke(pending);
    this.#hearing ??= this.#isHeard().finally(() => this.#hearing = undefined);
    void this.#hearing.then((isHeard) => {
      // Started after all.
      if (pending.state !== "expiring") return;
      this.#end(
        pending,
        isHeard ? { kind: "expired" } : {
          kind: "outcome_unknown",
          message: "The broker gave no sign while the call waited: it may have run",
        },
      );
    });
  }

  /**
   * Whether the broker answers on the connection that answers come on: what it had sent before is read
   * by then. One that blocks publishers holds workers' answers back.
   */
  #isHeard(): Promise<boolean> {
    const { state } = this.#broker;
    if (state.kind === "connected" && state.blocked !== undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      const late = this.#clock.after(HEARD_LIMIT_MS, () => resolve(false));
      this.#broker.check().then(() => resolve(true), (error: unknown) => {
        log.debug("The broker was not heard while a call expired: {error}", { error });
        resolve(false);
      }).finally(() => late.cancel());
    });
  }

  /** It was started, and its worker neither answered nor stopped it. */
  #overdue(pending: Pending): void {
    this.#revoke(pending);
    this.#end(pending, {
      kind: "outcome_unknown",
      message: "A worker took the call and gave no answer within its limit: it may have run",
    });
  }

  #cancel(pending: Pending): void {
    this.#revoke(pending);
    this.#end(pending, { kind: "cancelled" });
  }

  #revoke({ id }: Pending): void {
    this.#broker.publish(encodeRevocation({ ids: [id], terminate: true }))
      .then(undefined, (error: unknown) => {
        // Without a broker no worker can take it either; one that runs it ends at its limit.
        log.debug("A call could not be revoked: {error}", { callId: id, error });
      });
  }

  /** No queue took it (deleted, or its workers never came): again, until it expires. */
  #returned(message: Message): void {
    const pending = this.#pending.get(message.properties.correlationId ?? "");
    if (pending === undefined || pending.state === "started") return;
    if (!pending.isOurs) {
      return this.#end(pending, { kind: "unknown_queue", queue: message.routingKey });
    }
    this.#publishAgain(pending, UNROUTABLE_PAUSE_MS);
  }

  #publishAgain(pending: Pending, pauseMs: number): void {
    pending.republish = this.#clock.after(pauseMs, () => {
      if (this.#pending.has(pending.id) && this.#clock.monotonic() < pending.expiresAt) {
        this.#handOn(pending);
      }
    });
  }

  #connectionLost(): void {
    for (const pending of this.#pending.values()) {
      this.#end(pending, {
        kind: "outcome_unknown",
        message: "The connection to the broker was lost while the call waited: it may have run",
      });
    }
  }

  #end(pending: Pending, ending: Ending): void {
    if (!this.#pending.delete(pending.id)) return;
    pending.timer?.cancel();
    pending.republish?.cancel();
    pending.resolve(ending);
  }

  #whyAway(): string | undefined {
    const { state } = this.#broker;
    switch (state.kind) {
      case "connected":
        if (state.blocked !== undefined) return `The broker takes no messages: ${state.blocked}`;
        return this.#replies?.name === undefined
          ? "The broker connection is being set up"
          : undefined;
      case "away":
        return `The broker is away: ${state.reason}`;
      case "idle":
      case "stopped":
        return "The broker connection is closed";
    }
  }
}
