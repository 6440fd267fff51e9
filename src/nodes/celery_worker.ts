/**
 * What workers of Celery's tell of themselves on `celeryev`, as a roster reads it. Anybody may publish
 * there: what is no such event is passed over, and so is what a worker of ours tells for Celery's tools.
 * https://docs.celeryq.dev/en/stable/userguide/monitoring.html#worker-events
 */
import * as v from "valibot";
import { readJsonBody } from "../broker/json_body.ts";

/** Celery's own where an event does not say. */
const DEFAULT_FREQ_S = 60;
/** No timer need wait longer for a sign of life. */
const MAX_FREQ_S = 24 * 60 * 60;
const MAX_BYTES = 64 * 1024;
/** How workers of ours call themselves there. */
const OURS = "coxswain";

const Name = v.pipe(v.string(), v.minLength(1), v.maxLength(255));
const Count = v.pipe(v.number(), v.integer(), v.minValue(0));
const optional = <S extends v.GenericSchema>(schema: S) =>
  v.optional(v.fallback(v.nullish(schema), undefined));

const Event = v.object({
  type: v.picklist(["worker-online", "worker-heartbeat", "worker-offline"]),
  hostname: Name,
  freq: optional(v.pipe(v.number(), v.gtValue(0), v.maxValue(MAX_FREQ_S))),
  pid: optional(Count),
  active: optional(Count),
  processed: optional(Count),
  loadavg: optional(v.array(v.number())),
  sw_ident: optional(Name),
  sw_ver: optional(Name),
});

/** A sign of life, or of its end. */
export interface CeleryWorkerNews {
  readonly kind: "online" | "heartbeat" | "offline";
  /** Its name, such as `celery@host`. */
  readonly name: string;
  readonly version: string;
  /** From one heartbeat to the next; who is silent for twice as long counts as gone. */
  readonly intervalMs: number;
  readonly pid?: number;
  /** Tasks that run. */
  readonly active?: number;
  /** Tasks taken since its start. */
  readonly processed?: number;
  /** Of its machine, over 1, 5 and 15 minutes. */
  readonly loadAverage?: readonly number[];
}

const KINDS = {
  "worker-online": "online",
  "worker-heartbeat": "heartbeat",
  "worker-offline": "offline",
} as const;

/** Undefined for all that is not news of a worker of Celery's. */
export function decodeCeleryWorker(body: Uint8Array): CeleryWorkerNews | undefined {
  if (body.length > MAX_BYTES) return undefined;
  const event = readJsonBody(Event, body);
  if (event === undefined || event.sw_ident === OURS) return undefined;
  const { type, hostname, freq, pid, active, processed, loadavg, sw_ver } = event;
  return {
    kind: KINDS[type],
    name: hostname,
    version: sw_ver ?? "",
    intervalMs: (freq ?? DEFAULT_FREQ_S) * 1_000,
    ...(typeof pid === "number" ? { pid } : {}),
    ...(typeof active === "number" ? { active } : {}),
    ...(typeof processed === "number" ? { processed } : {}),
    ...(loadavg ? { loadAverage: loadavg } : {}),
  };
}
