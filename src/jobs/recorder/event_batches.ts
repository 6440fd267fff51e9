/**
 * Job events from `cox.recorder` into the store. How batches are made and acked is store_batches.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import type { Message } from "../../broker/message.ts";
import { publishPatiently } from "../../broker/publish_patiently.ts";
import { DEAD_LETTERS_QUEUE, RECORDER_QUEUE } from "../../broker/topology.ts";
import { deadLetter } from "../../calls/wire/task_message.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Store } from "../../store/store.ts";
import type { Job } from "../job.ts";
import { decodeJobEvents, encodeJobEvents, type JobEvent } from "../job_event.ts";
import type { BatchSource } from "./store_batches.ts";

const log = getLogger(["coxswain", "recorder"]);

const GIVE_UP_PATIENCE_MS = 5_000;

export interface JobEventSourceOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly node: string;
  readonly clock: Clock;
  /** Told of each job that a commit changed. */
  readonly recorded: (jobs: readonly Job[]) => void;
}

/** One that the store refuses is kept as a dead letter. */
export function jobEventSource(
  { broker, store, node, clock, recorded }: JobEventSourceOptions,
): BatchSource<JobEvent> {
  return {
    subject: "Job events",
    queue: RECORDER_QUEUE.name,
    read: readEvents,
    encode: (event) => encodeJobEvents([event]),
    at: ({ at }) => at,
    record: async (events) => {
      const jobs = await store.recordEvents(events);
      return () => recorded(jobs);
    },
    giveUp: async (message, event, refusal) => {
      const reason = `The store does not take this job event: ${String(refusal)}`;
      log.error("An event cannot be recorded: {reason}", {
        reason,
        jobId: event?.id,
        kind: event?.kind,
      });
      const letter = deadLetter(message, {
        to: DEAD_LETTERS_QUEUE.name,
        reason: reason.slice(0, 1_000).toWellFormed(),
        queue: RECORDER_QUEUE.name,
        node,
        at: clock.now(),
      });
      await publishPatiently(broker, letter, { confirm: true }, GIVE_UP_PATIENCE_MS);
    },
  };
}

/**
 * The events of a message. What cannot be read is told once and passed over: it is nobody's outcome
 * that could be waited for, or one that a newer version will have told in words of its own.
 */
function readEvents({ body, routingKey }: Message): readonly JobEvent[] {
  const decoded = decodeJobEvents(body);
  if (decoded.kind === "events") return decoded.events;
  const parts = partsOf(body).map((part) => decodeJobEvents(part));
  const events = parts.flatMap((part) => part.kind === "events" ? part.events : []);
  log.warn("Passed over job events that cannot be read: {reason}", {
    reason: decoded.reason,
    events: Math.max(1, parts.length - events.length),
    routingKey,
    beginning: new TextDecoder().decode(body.subarray(0, 200)),
  });
  return events;
}

/** Each event of a group as a body of its own: one that cannot be read is not the others' fault. */
function partsOf(body: Uint8Array): readonly Uint8Array[] {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return [];
    throw error;
  }
  if (!Array.isArray(json) || json.length < 2) return [];
  return json.map((event: JobEvent) => encodeJobEvents([event]));
}
