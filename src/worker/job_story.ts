/**
 * What a worker tells of one job that it holds: its events, in order. How they travel is
 * src/jobs/event_publisher.ts; what they do to the record is src/jobs/states.ts.
 */
import type { Reply } from "../calls/wire/reply_message.ts";
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import type { Run } from "../jobs/job.ts";
import { type JobEvent, type JobOutcome, type JobRequest, nextSeq } from "../jobs/job_event.ts";
import { createdAtOf } from "../platform/ids.ts";
import type { Progress } from "../tasks/progress.ts";
import type { TaskError } from "../tasks/task_error.ts";

export interface StoryFacts {
  readonly task: ReceivedTask;
  readonly queue: string;
  readonly node: string;
  /** It was delivered before. */
  readonly redelivered: boolean;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/** Written by the executor: a run begins at most once for each time that the job is held. */
export class JobStory {
  readonly #facts: StoryFacts;
  #run: Run | undefined;
  #seq = 0;

  constructor(facts: StoryFacts) {
    this.#facts = facts;
  }

  /**
   * An attempt begins to run.
   * @param startedAt epoch milliseconds; default: now.
   */
  begin(startedAt = this.#facts.now()): void {
    const { node, redelivered } = this.#facts;
    this.#run = { node, startedAt: Math.floor(startedAt), redelivered };
  }

  /** It has run for a while. */
  started(): JobEvent | undefined {
    return this.#run && { ...this.#base(), kind: "started", run: this.#run };
  }

  progress({ fraction, message }: Progress): JobEvent | undefined {
    return this.#run && {
      ...this.#base(),
      kind: "progress",
      run: this.#run,
      fraction,
      ...(message === undefined ? {} : { message }),
    };
  }

  /** It has ended, and its message is settled with this. */
  ended(reply: Reply): JobEvent {
    return {
      ...this.#base(),
      ...this.#runPart(),
      kind: "outcome",
      outcome: outcomeOf(reply),
      settles: true,
    };
  }

  /** The attempt failed, and the next one is to be published at `dueAt`. */
  retrying(error: TaskError, dueAt: number, request: JobRequest | undefined): JobEvent {
    return {
      ...this.#base(),
      ...this.#runPart(),
      kind: "retrying",
      error,
      dueAt,
      ...(request === undefined ? {} : { request }),
    };
  }

  /** The same where this worker has published the next attempt itself. */
  kept(error: TaskError, dueAt: number): readonly JobEvent[] {
    const base = this.#base();
    return [
      this.retrying(error, dueAt, undefined),
      { ...base, kind: "published", attempt: base.attempt + 1 },
    ];
  }

  /** It may not start before `dueAt`, and its message is left to the recorder. */
  scheduled(dueAt: number, request: JobRequest): JobEvent {
    return { ...this.#base(), kind: "scheduled", dueAt, request, isHandedBack: true };
  }

  #runPart(): { readonly run?: Run } {
    return this.#run === undefined ? {} : { run: this.#run };
  }

  #base() {
    const { task, queue, now } = this.#facts;
    const at = now();
    this.#seq = nextSeq(this.#seq, at);
    return {
      id: task.id,
      task: task.task,
      queue,
      createdAt: createdAtOf(task.id) ?? at,
      ...(task.rootId === undefined ? {} : { rootId: task.rootId }),
      ...(task.parentId === undefined ? {} : { parentId: task.parentId }),
      attempt: task.retries + 1,
      firstAttempt: task.firstAttempt,
      seq: this.#seq,
      at,
    };
  }
}

function outcomeOf(reply: Reply): JobOutcome {
  switch (reply.kind) {
    case "succeeded":
      return { kind: "succeeded", resultJson: reply.resultJson };
    case "failed":
      return { kind: "failed", error: reply.error };
    case "timed_out":
      return { kind: "timed_out", limitMs: reply.limitMs };
    case "expired":
    case "cancelled":
      return { kind: reply.kind };
    case "worker_lost":
      return { kind: "failed", error: { type: "WorkerLost", message: reply.message } };
    case "refused":
      return { kind: "failed", error: { type: "Refused", message: reply.message } };
  }
}
