/**
 * Requests to a front for a load: calls, or jobs that are followed to their ends. Over connections of
 * its own that are kept, because the runtime's fetch has 256 in flight at most.
 */
import * as http from "node:http";
import * as https from "node:https";
import { parseInput } from "../calls/input.ts";
import type { Ended } from "./load.ts";

export interface FrontLoadOptions {
  /** Without a slash at its end. */
  readonly url: string;
  readonly token?: string;
  /** Certificate authorities (PEM text) to trust instead of the system's. */
  readonly ca?: string;
  readonly task: string;
  /** JSON text, or nothing. */
  readonly input: string;
  /** Jobs instead of calls: one has succeeded when its task has. */
  readonly isJob: boolean;
  /** For each request, to the end of its answer; of a job to its end. */
  readonly timeoutMs: number;
  /** Connections. */
  readonly concurrency: number;
}

export interface FrontLoad extends Disposable {
  /** @param interrupt cuts it off. Never rejects. */
  request(interrupt: AbortSignal): Promise<Ended>;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const SUCCEEDED: Ended = { kind: "succeeded" };
/** A front that holds a request open longer is asked again. */
const MAX_WAIT_S = 30;

/** @throws SyntaxError when the input is not JSON, RangeError when it is nested too deeply. */
export function openFrontLoad(options: FrontLoadOptions): FrontLoad {
  const { url, task, input, isJob, timeoutMs, concurrency, token, ca } = options;
  parseInput(input);
  const kept = { keepAlive: true, maxSockets: concurrency };
  const isTls = new URL(url).protocol === "https:";
  const { request } = isTls ? https : http;
  const agent = isTls
    ? new https.Agent({ ...kept, ...(ca === undefined ? {} : { ca }) })
    : new http.Agent(kept);
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };

  const ask = (method: string, path: string, body: string | undefined, signal: AbortSignal) =>
    new Promise<Answer>((resolve, reject) => {
      const sent = request(`${url}${path}`, { method, agent, headers, signal }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString(),
          }));
        response.on("error", reject);
      });
      sent.on("error", reject);
      sent.end(body);
    });

  const name = encodeURIComponent(task);
  const call = async (signal: AbortSignal): Promise<Ended> => {
    const answer = await ask("POST", `/tasks/${name}/call`, input, signal);
    return answer.status === 200 ? SUCCEEDED : failureOf(answer);
  };
  const job = async (signal: AbortSignal): Promise<Ended> => {
    const accepted = await ask("POST", `/tasks/${name}/jobs`, input, signal);
    if (accepted.status !== 202) return failureOf(accepted);
    const id = memberOf(accepted.body, "id");
    while (true) {
      const answer = await ask("GET", `/jobs/${id}?wait=${MAX_WAIT_S}s`, undefined, signal);
      if (answer.status !== 200) return failureOf(answer);
      const state = memberOf(answer.body, "state");
      if (state === "succeeded") return SUCCEEDED;
      if (["failed", "timed_out", "expired", "cancelled"].includes(state)) {
        return { kind: "failed", type: `job ${state}` };
      }
    }
  };
  return {
    request: async (interrupt) => {
      const timeout = AbortSignal.timeout(timeoutMs);
      const signal = AbortSignal.any([timeout, interrupt]);
      try {
        return await (isJob ? job(signal) : call(signal));
      } catch (error) {
        if (interrupt.aborted) return { kind: "cut" };
        if (timeout.aborted) return { kind: "failed", type: "timeout" };
        return { kind: "failed", type: reasonOf(error) };
      }
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}

/** By status and, where a problem tells it, by its type. */
function failureOf({ status, body }: Answer): Ended {
  const problem = memberOf(body, "type").split("/").at(-1) ?? "";
  return { kind: "failed", type: `${status}${problem === "" ? "" : ` ${problem}`}` };
}

/** A text of a JSON object, or nothing. */
function memberOf(json: string, name: string): string {
  try {
    const value: unknown = JSON.parse(json);
    const member: unknown = typeof value === "object" && value !== null
      ? Reflect.get(value, name)
      : undefined;
    return typeof member === "string" ? member : "";
  } catch (error) {
    if (error instanceof SyntaxError) return "";
    throw error;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ConnectionRefused: "connection refused",
  ECONNRESET: "connection reset",
  ENOTFOUND: "no such host",
};

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return REASONS[code] ?? (code || (error instanceof Error ? error.message : String(error)));
}
