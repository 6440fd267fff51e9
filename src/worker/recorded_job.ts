/** What is recorded of a job that this worker holds: its story, and what its message asks. */
import type { Delivery } from "../broker/message.ts";
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import type { JobEventPublisher } from "../jobs/event_publisher.ts";
import type { JobRequest } from "../jobs/job_event.ts";
import { jobRequest } from "../jobs/job_message.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { Progress } from "../tasks/progress.ts";
import { bodyText } from "./body_text.ts";
import { JobStory } from "./job_story.ts";

/** What a recorded job is settled with besides. */
export interface RecordedJob {
  readonly story: JobStory;
  /** What its message asks, for who publishes the next one. */
  readonly request: () => Promise<JobRequest | undefined>;
}

export interface RecordedJobOptions {
  readonly node: string;
  /** Most bytes that a compressed body may inflate to. */
  readonly maxBodyBytes: number;
  /** What the task does not want to be shown. */
  readonly redact: TaskDescriptor["redact"];
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/** @param redelivered it may have run before. */
export function recordedJob(
  { queue, message: { body, properties: { priority } } }: Delivery,
  task: ReceivedTask,
  redelivered: boolean,
  { node, maxBodyBytes, redact, now }: RecordedJobOptions,
): RecordedJob {
  return {
    story: new JobStory({ task, queue, node, redelivered, now }),
    request: async () => {
      const text = await bodyText(body, task.isCompressed, maxBodyBytes);
      const request = jobRequest(task, priority, text);
      if (request === undefined || redact === undefined) return request;
      return { ...request, terms: { ...request.terms, redacted: redact } };
    },
  };
}

/** Tells the record of progress as it comes. */
export function progressTeller(
  { story }: RecordedJob,
  events: Pick<JobEventPublisher, "tell">,
): (progress: Progress) => void {
  return (progress) => {
    const event = story.progress(progress);
    if (event !== undefined) events.tell(event);
  };
}
