/**
 * The executor: one delivery goes through decode → admit → run → settle. The decisions are
 * admission.ts and settlement.ts; settler.ts carries endings out. Deliveries come from
 * queue_consumers.ts, attempts run in src/isolates.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import type { Delivery } from "../broker/message.ts";
import { STARTED_NOTICE_AFTER_MS } from "../calls/broker_caller.ts";
import { InflateError } from "../calls/wire/compression.ts";
import { COX } from "../calls/wire/names.ts";
import { encodeProgress, encodeStarted, type ReplyAddress } from "../calls/wire/reply_message.ts";
import { mayHaveCanvas, readCanvas } from "../calls/wire/signature.ts";
import { decodeTask, type ReceivedTask } from "../calls/wire/task_message.ts";
import type { AttemptEnd, AttemptRequest, RunOptions } from "../isolates/attempt.ts";
import type { JobEventPublisher } from "../jobs/event_publisher.ts";
import type { RecorderPresence } from "../jobs/recorder_presence.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import { admit } from "./admission.ts";
import { AnswerGroups } from "./answer_groups.ts";
import { bodyText } from "./body_text.ts";
import { FollowUps } from "./follow_ups.ts";
import type { LookAhead } from "./look_ahead.ts";
import type { Revocations } from "./revocations.ts";
import { progressTeller, type RecordedJob, recordedJob } from "./recorded_job.ts";
import { settle, type Settlement } from "./settlement.ts";
import { Settler } from "./settler.ts";

const log = getLogger(["coxswain", "worker"]);

/** Where every slot runs something this long, what waits is given back for other workers. */
const BLOCKED_AFTER_MS = 250;

/** The part of the pool that the executor needs. */
export interface AttemptRunner {
  run(request: AttemptRequest, options?: RunOptions): Promise<AttemptEnd>;
}

export interface ExecutorOptions {
  readonly broker: Broker;
  readonly events: JobEventPublisher;
  readonly recorder: RecorderPresence;
  readonly runner: AttemptRunner;
  readonly tasks: ReadonlyMap<string, TaskDescriptor>;
  /** Attempts that may run at once. */
  readonly slots: number;
  readonly lookAhead: LookAhead;
  /**
   * Whether answers of short attempts may wait a moment for each other: worth it where each costs
   * packets, and not with a broker in this process (seen: 27,000 calls a second for 36,000).
   */
  readonly groupAnswers: boolean;
  readonly revocations: Revocations;
  /** Whether another live worker announces a task on a queue. */
  readonly isServedElsewhere: (task: string, queue: string) => boolean;
  /** Whether a worker that is none of ours has a task. */
  readonly hasStranger: (task: string) => boolean;
  /** The queue that a route names, or that a task of any worker of ours is announced on. */
  readonly queueOf: (task: string) => string | undefined;
  readonly node: string;
  /** Most bytes that a compressed body may inflate to. */
  readonly maxBodyBytes: number;
  /** `paused` has grown. */
  readonly onPaused?: () => void;
  /** A message of a queue is dealt with. */
  readonly onSettled?: (queue: string) => void;
  /** Who is told what becomes of requests. */
  readonly watcher?: RequestWatcher;
  readonly clock?: Clock;
}

/** Is told what becomes of requests, as it happens. None of its methods throws or waits. */
export interface RequestWatcher {
  /** A request is taken, to run now or later: once for each delivery. */
  received(task: ReceivedTask, delivery: Delivery, descriptor: TaskDescriptor | undefined): void;
  /** An attempt runs. */
  started(task: ReceivedTask): void;
  /** It is dealt with. */
  settled(
    task: ReceivedTask,
    settlement: Settlement,
    of: {
      readonly descriptor: TaskDescriptor | undefined;
      /** Absent: it did not run. */
      readonly runtimeMs?: number;
    },
  ): void;
}

/** A request as it is held now, for who asks from outside. */
export interface HeldRequest {
  readonly state: "active" | "reserved" | "scheduled";
  readonly task: ReceivedTask;
  readonly delivery: Delivery;
  /** Epoch milliseconds: an active one's start, a scheduled one's moment. */
  readonly at?: number;
}

/** A request that was admitted. `delivery` is replaced where the broker delivers it again meanwhile. */
interface Held {
  delivery: Delivery;
  readonly task: ReceivedTask;
  readonly descriptor: TaskDescriptor;
  readonly address: ReplyAddress | undefined;
  readonly alone: boolean;
  /** Of a recorded job. */
  readonly job: RecordedJob | undefined;
  /** Set while it runs. */
  running: Running | undefined;
}

interface Running {
  /** Monotonic, and since the epoch. */
  readonly startedAt: number;
  readonly began: number;
  readonly abort: AbortController;
  notice: Timer | undefined;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #clock: Clock;
  /** Admitted, in the broker's order, waiting for a slot. */
  #waiting: Held[] = [];
  /** By id of the request. */
  readonly #running = new Map<string, Held>();
  /** Attempts that run, counting two of one id twice. */
  #runningCount = 0;
  /** Attempts that may run at once. */
  #slots: number;
  readonly #settler: Settler;
  readonly #answers: AnswerGroups;
  #isStopping = false;
  #blockedTimer: Timer | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#slots = options.slots;
    this.#clock = options.clock ?? systemClock;
    this.#answers = new AnswerGroups(this.#clock);
    this.#settler = new Settler({
      broker: options.broker,
      events: options.events,
      recorder: options.recorder,
      followUps: new FollowUps({
        broker: options.broker,
        node: options.node,
        tasks: options.tasks,
        queueOf: options.queueOf,
        maxBodyBytes: options.maxBodyBytes,
        clock: this.#clock,
      }),
      node: options.node,
      clock: this.#clock,
      onIdle: () => this.#checkIdle(),
      ...(options.onPaused === undefined ? {} : { onPaused: options.onPaused }),
      ...(options.onSettled === undefined ? {} : { onSettled: options.onSettled }),
    });
  }

  get running(): number {
    return this.#runningCount;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Deliveries that are held for a later moment: they take no slot, and are unacked all the same. */
  get paused(): number {
    return this.#settler.paused;
  }

  /** Whether something of this queue runs or waits here. */
  holds(queue: string): boolean {
    const isOfQueue = ({ delivery }: Held) => delivery.queue === queue;
    return this.#waiting.some(isOfQueue) || [...this.#running.values()].some(isOfQueue);
  }

  /** Takes a delivery over: it will be settled, whatever becomes of it. Never throws. */
  accept(delivery: Delivery): void {
    if (this.#isStopping) return delivery.nack({ requeue: true });
    const decoded = decodeTask(delivery);
    if (decoded.kind === "unusable") {
      const { id, replyTo, correlationId, reason } = decoded;
      const address = replyTo === undefined || replyTo === "" ? undefined : {
        id: id ?? "",
        replyTo,
        correlationId: correlationId ?? "",
        mayCompress: false,
        node: this.#options.node,
      };
      return this.#settler.settle({ delivery, task: undefined, address }, {
        kind: "give_up",
        reason,
        reply: { kind: "refused", message: reason },
      });
    }
    this.#admit(delivery, decoded.task);
  }

  /** All that it holds now. */
  *held(): Iterable<HeldRequest> {
    for (const { task, delivery, running } of this.#running.values()) {
      if (running !== undefined) yield { state: "active", task, delivery, at: running.began };
    }
    for (const { task, delivery } of this.#waiting) yield { state: "reserved", task, delivery };
    for (const { task, delivery, dueAt } of this.#settler.pausedRequests()) {
      yield { state: "scheduled", task, delivery, at: dueAt };
    }
  }

  /** From now on so many attempts may run at once; what runs goes on. */
  resize(slots: number): void {
    this.#slots = slots;
    this.#dispatch();
  }

  /** Stops the attempt where it runs; where it waits, it is refused. */
  revoke(id: string, terminate: boolean): void {
    this.#options.revocations.add(id);
    if (terminate) this.#running.get(id)?.running?.abort.abort();
    const index = this.#waiting.findIndex(({ task }) => task.id === id);
    const [held] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (held !== undefined) {
      const settlement = { kind: "answer", reply: { kind: "cancelled" } } as const;
      this.#options.watcher?.settled(held.task, settlement, held);
      this.#settleHeld(held, settlement);
    }
    this.#settler.hasten(id);
  }

  /** Takes nothing more and gives back what has not started. */
  stopAccepting(): void {
    this.#isStopping = true;
    this.#blockedTimer?.cancel();
    this.#giveBackWaiting();
    this.#answers.flush();
    this.#settler.stopPausing();
  }

  /** Resolves when nothing runs and every settlement has been handed to the broker. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#checkIdle();
    });
  }

  /** Stops what still runs; it is given back. */
  abortRunning(): void {
    for (const { running } of this.#running.values()) running?.abort.abort();
  }

  /** @param isNew it has not been held for a later moment. */
  #admit(delivery: Delivery, task: ReceivedTask, isNew = true): void {
    const { tasks, revocations, isServedElsewhere, hasStranger, node, watcher } = this.#options;
    const present = this.#running.get(task.id);
    if (delivery.redelivered && present !== undefined) {
      // The connection was lost while it ran: the attempt goes on, and settles this delivery.
      present.delivery = delivery;
      return;
    }
    const isAnswered = task.replyTo !== undefined && task.replyTo !== "" && !task.ignoresResult;
    const address = !isAnswered ? undefined : {
      id: task.id,
      replyTo: task.replyTo,
      correlationId: task.correlationId,
      mayCompress: task.isCompressed || task.isOurs,
      node,
      ...(task.isOurs ? {} : { celeryTask: task.task }),
    };
    const descriptor = tasks.get(task.task);
    const job = task.isRecorded ? this.#recordedJob(delivery, task) : undefined;
    const settled = { delivery, task, address, ...(job === undefined ? {} : { job }) };
    const admission = admit(task, {
      now: this.#clock.now(),
      redelivered: delivery.redelivered,
      isRevoked: revocations.has(task.id),
      descriptor,
      isServedElsewhere: descriptor === undefined && isServedElsewhere(task.task, delivery.queue),
      hasStranger: descriptor === undefined && hasStranger(task.task),
    });
    const isTaken = admission.kind === "run" || admission.kind === "wait";
    if (isNew && isTaken) watcher?.received(task, delivery, descriptor);
    switch (admission.kind) {
      case "run":
        this.#waiting.push({
          delivery,
          task,
          descriptor: admission.descriptor,
          address,
          alone: mayBeGuilty(delivery, task),
          job,
          running: undefined,
        });
        return this.#dispatch();
      case "wait": {
        const again = () => this.#admit(delivery, task, false);
        if (task.kind === "call") {
          return this.#settler.after(admission.waitMs, delivery, again, task);
        }
        // A Celery client's request becomes a job once the recorder keeps it.
        const kept = { ...settled, job: job ?? this.#recordedJob(delivery, task) };
        return this.#settler.delay(kept, admission.waitMs, again);
      }
      case "refuse":
        watcher?.settled(task, { kind: "answer", reply: admission.reply }, { descriptor });
        return this.#settler.settle(settled, { kind: "answer", reply: admission.reply });
      case "give_on":
        return this.#settler.settle(settled, {
          kind: "try_again",
          pauseMs: admission.pauseMs,
          headers: { [COX.hops]: admission.hops },
        });
      case "give_up":
        watcher?.settled(task, admission, { descriptor });
        return this.#settler.settle(settled, admission);
    }
  }

  #recordedJob(delivery: Delivery, task: ReceivedTask): RecordedJob {
    const { node, maxBodyBytes, tasks } = this.#options;
    return recordedJob(delivery, task, mayHaveRun(delivery, task), {
      node,
      maxBodyBytes,
      redact: tasks.get(task.task)?.redact,
      now: () => this.#clock.now(),
    });
  }

  #dispatch(): void {
    while (this.#runningCount < this.#slots) {
      const held = this.#waiting.shift();
      if (held === undefined) return;
      void this.#run(held);
    }
    if (this.#waiting.length > 0) this.#watchBlocked();
  }

  async #run(held: Held): Promise<void> {
    const { task, descriptor } = held;
    const running: Running = {
      startedAt: this.#clock.monotonic(),
      began: this.#clock.now(),
      abort: new AbortController(),
      notice: undefined,
    };
    held.running = running;
    this.#running.set(task.id, held);
    this.#runningCount++;
    let settlement: Settlement;
    try {
      const end = await this.#attempt(held, running);
      settlement = settle(end, {
        task,
        descriptor,
        alone: held.alone,
        isStopping: this.#isStopping,
        random: Math.random(),
      });
    } catch (error) {
      log.error("An attempt could not be run: {error}", {
        callId: task.id,
        task: task.task,
        error,
      });
      settlement = {
        kind: "answer",
        reply: {
          kind: "failed",
          error: { type: "InternalError", message: "The worker could not run the attempt" },
          headers: {},
        },
      };
    }
    running.notice?.cancel();
    held.running = undefined;
    if (this.#running.get(task.id) === held) this.#running.delete(task.id);
    this.#runningCount--;
    const durationMs = this.#clock.monotonic() - running.startedAt;
    this.#options.lookAhead.ended(durationMs);
    // The isolate has its next attempt before this one is answered.
    if (!this.#isStopping) this.#dispatch();
    const isMoreWaiting = this.#options.groupAnswers && this.#waiting.length > 0;
    this.#options.watcher?.settled(task, settlement, { descriptor, runtimeMs: durationMs });
    const ended = this.#toBeKept(held, settlement, durationMs);
    this.#answers.add(() => this.#settleHeld(ended, settlement), durationMs, isMoreWaiting);
  }

  /** A Celery client's request becomes a job once the recorder keeps its next attempt. */
  #toBeKept(held: Held, settlement: Settlement, durationMs: number): Held {
    if (settlement.kind !== "retry" || held.job !== undefined) return held;
    const job = this.#recordedJob(held.delivery, held.task);
    job.story.begin(this.#clock.now() - durationMs);
    return { ...held, job };
  }

  async #attempt(held: Held, running: Running): Promise<AttemptEnd> {
    const { task, descriptor } = held;
    const bytes = held.delivery.message.body;
    let body: string;
    try {
      body = task.isCompressed
        ? await bodyText(bytes, true, this.#options.maxBodyBytes)
        : decoder.decode(bytes);
    } catch (error) {
      if (error instanceof InflateError) return { kind: "malformed", reason: error.message };
      return { kind: "malformed", reason: "The body is not UTF-8" };
    }
    const problem = canvasProblem(task, bytes, body);
    if (problem !== undefined) return { kind: "malformed", reason: problem };
    const softTimeoutMs = task.softTimeoutMs ?? descriptor.softTimeoutMs;
    return await this.#options.runner.run({
      id: task.id,
      task: task.task,
      body,
      attempt: task.retries + 1,
      redelivered: mayHaveRun(held.delivery, task),
      timeoutMs: Math.min(task.timeoutMs ?? descriptor.timeoutMs, descriptor.timeoutMs),
      ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
      isolation: descriptor.isolation,
      alone: held.alone,
      ...(task.once ? { once: true } : {}),
      headers: task.headers,
    }, {
      signal: running.abort.signal,
      ...this.#progressOptions(held),
      onStart: () => {
        this.#options.watcher?.started(task);
        held.job?.story.begin();
        running.notice = this.#clock.after(STARTED_NOTICE_AFTER_MS, () => this.#tellStarted(held));
      },
    });
  }

  #progressOptions({ address, job, task }: Held): Pick<RunOptions, "onProgress"> {
    const { broker, events } = this.#options;
    const record = job && progressTeller(job, events);
    if (task.isOurs || address === undefined) {
      return record === undefined ? {} : { onProgress: record };
    }
    return {
      onProgress: (progress) => {
        record?.(progress);
        broker.publish(encodeProgress(address, progress)).then(undefined, (error: unknown) => {
          log.debug("Progress could not be told: {error}", { callId: task.id, error });
        });
      },
    };
  }

  #tellStarted({ address, task, job }: Held): void {
    this.#options.lookAhead.sawLong();
    const started = job?.story.started();
    if (started !== undefined) this.#options.events.tell(started);
    if (address === undefined || !task.isOurs) return;
    this.#options.broker.publish(encodeStarted(address)).then(undefined, (error: unknown) => {
      log.debug("A started notice could not be sent: {error}", { callId: task.id, error });
    });
  }

  /** One timer for all that waits: who waits behind slots that are all long busy goes elsewhere. */
  #watchBlocked(): void {
    this.#blockedTimer ??= this.#clock.after(BLOCKED_AFTER_MS, () => {
      this.#blockedTimer = undefined;
      const since = this.#clock.monotonic() - BLOCKED_AFTER_MS;
      const isBlocked = [...this.#running.values()].every(({ running }) =>
        running !== undefined && running.startedAt < since
      );
      if (isBlocked) this.#giveBackWaiting();
      else if (this.#waiting.length > 0) this.#watchBlocked();
    });
  }

  #giveBackWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { delivery } of waiting) delivery.nack({ requeue: true });
  }

  #settleHeld({ delivery, task, address, job }: Held, settlement: Settlement): void {
    this.#settler.settle(
      { delivery, task, address, ...(job === undefined ? {} : { job }) },
      settlement,
    );
  }

  #checkIdle(): void {
    if (this.#runningCount === 0 && this.#settler.isIdle) this.#onIdle?.();
  }
}

/** Why nothing of what follows the task could be run, where that is so. */
function canvasProblem(task: ReceivedTask, bytes: Uint8Array, body: string): string | undefined {
  if (task.isOurs || (!task.isCompressed && !mayHaveCanvas(bytes))) return undefined;
  return readCanvas(body)?.problem;
}

/** It is run alone then, for it may be what ended a process. */
function mayBeGuilty({ redelivered }: Delivery, { deaths }: ReceivedTask): boolean {
  return redelivered || deaths > 0;
}

/** What its task is told as `context.redelivered`. */
function mayHaveRun(delivery: Delivery, task: ReceivedTask): boolean {
  return mayBeGuilty(delivery, task) || task.again;
}
