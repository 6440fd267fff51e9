/**
 * Tells a Celery client how its request ended where no worker does: it was cancelled, or its time was
 * over, while the records kept it. A second answer, should a worker give one, does it no harm.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { encodeReply, type Reply } from "../calls/wire/reply_message.ts";
import type { JobSummary } from "./job.ts";

const log = getLogger(["coxswain", "jobs"]);

/** Never rejects: its client's own patience is what is left then. */
export async function answerWaitingClient(
  broker: Pick<Broker, "publish">,
  job: JobSummary,
): Promise<void> {
  const { id, task, node = "", terms: { replyTo, correlationId = id } = {} } = job;
  const reply = replyOf(job);
  if (replyTo === undefined || reply === undefined) return;
  try {
    const address = { id, replyTo, correlationId, mayCompress: false, node, celeryTask: task };
    await broker.publish(await encodeReply(address, reply));
  } catch (error) {
    log.warn("Who waits for a job could not be told its end: {error}", { jobId: id, error });
  }
}

function replyOf({ state, error }: JobSummary): Reply | undefined {
  switch (state) {
    case "expired":
    case "cancelled":
      return { kind: state };
    case "failed":
      return error && { kind: "failed", error, headers: {} };
    case "succeeded":
    case "timed_out":
    case "scheduled":
    case "queued":
    case "running":
    case "retrying":
      return undefined;
  }
}
