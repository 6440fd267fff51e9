/**
 * A front as the operator's commands see it, over HTTP: it calls tasks, and lists them. The way back
 * from the problem responses of src/http to endings.
 */
import type { Caller, CallInput, CallOptions } from "../calls/call.ts";
import type { Ending } from "../calls/outcome.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { InputIssue, TaskError } from "../tasks/task_error.ts";
import type { PublishConfig } from "../config/config.ts";
import { redactText } from "../observe/redaction.ts";
import { EXIT } from "./exit_code.ts";
import type { MessageSink, PublishedMessage } from "./publish_command.ts";
import type { QueueAction, QueueSource } from "./queues_command.ts";
import { StartupError } from "./startup_error.ts";

export interface FrontAddress {
  /** Without a slash at its end. */
  readonly url: string;
  readonly token?: string;
  /** Certificate authorities (PEM text) to trust instead of the system's. */
  readonly ca?: string;
}

/**
 * Calls tasks through a front. Its `call` rejects with a StartupError where no front answers, or it
 * does not let us in.
 */
export class FrontClient implements Caller, QueueSource, MessageSink {
  readonly #front: FrontAddress;
  /** Its address as messages tell it: a password in it is hidden. */
  readonly #label: string;
  #pending = 0;

  constructor(front: FrontAddress) {
    this.#front = front;
    this.#label = redactText(front.url);
  }

  get pending(): number {
    return this.#pending;
  }

  async call(
    task: string,
    input: CallInput,
    options: CallOptions = {},
    signal?: AbortSignal,
  ): Promise<Ending> {
    const path = `/tasks/${encodeURIComponent(task)}/call${queryOf(options)}`;
    this.#pending += 1;
    try {
      const response = await this.#ask(path, {
        method: "POST",
        headers: { ...options.headers, "content-type": "application/json" },
        body: input.kwargsJson === "{}" ? input.argsJson : input.kwargsJson,
        ...(signal === undefined ? {} : { signal }),
      });
      return endingOf(task, response.status, await response.text());
    } catch (error) {
      if (signal?.aborted) return { kind: "cancelled" };
      throw error;
    } finally {
      this.#pending -= 1;
    }
  }

  /** The front's list of tasks as it sent it: JSON text of an array. */
  tasks(): Promise<string> {
    return this.#list("/tasks");
  }

  /** The front's list of nodes as it sent it: JSON text of an array. */
  nodes(): Promise<string> {
    return this.#list("/nodes");
  }

  /** The front's list of queues as it sent it: JSON text of an array. */
  queues(): Promise<string> {
    return this.#list("/queues");
  }

  steer(action: QueueAction, queue: string): Promise<string> {
    return this.#post(`/queues/${encodeURIComponent(queue)}/${action}`);
  }

  publishToExchange(
    exchange: string,
    message: PublishedMessage,
    { key, headers, isPersistent, isAwaited, type }: PublishConfig["options"],
  ): Promise<string> {
    const query = new URLSearchParams({
      key,
      persistent: `${isPersistent}`,
      wait: `${isAwaited}`,
      ...(type === undefined ? {} : { type }),
    });
    for (const [name, value] of Object.entries(headers)) query.append("header", `${name}:${value}`);
    return this.#post(`/exchanges/${encodeURIComponent(exchange)}?${query}`, message);
  }

  publishToChannel(channel: string, message: PublishedMessage): Promise<string> {
    return this.#post(`/channels/${encodeURIComponent(channel)}`, message);
  }

  /**
   * One request, whatever its answer's status is.
   * @throws StartupError where no front answers, or it does not let us in.
   */
  request(path: string, init: RequestInit = {}): Promise<Response> {
    return this.#ask(path, init);
  }

  /** The text of an answer that is well. @throws StartupError telling the front's refusal. */
  async text(path: string, init: RequestInit = {}): Promise<string> {
    const response = await this.#ask(path, init);
    const text = await response.text();
    if (response.ok) return text;
    throw new StartupError(`The front at ${this.#label} refused: ${problemOf(text).detail}`, {
      exitCode: response.status >= 500 ? EXIT.noBroker : EXIT.wrongUsage,
    });
  }

  /**
   * Opens an event stream.
   * @param lastId of the event that was seen last.
   * @throws StartupError when the front cannot be asked now (exit code 3), or refuses.
   */
  async openStream(
    path: string,
    lastId: string | undefined,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#ask(path, {
      signal,
      headers: {
        accept: "text/event-stream",
        ...(lastId === undefined ? {} : { "last-event-id": lastId }),
      },
    });
    if (response.ok && response.body !== null) return response.body;
    const { detail } = problemOf(await response.text());
    throw new StartupError(`The front at ${this.#label} refused: ${detail}`, {
      exitCode: response.status >= 500 || response.status === 429 ? EXIT.noBroker : EXIT.wrongUsage,
    });
  }

  async #post(path: string, message?: PublishedMessage): Promise<string> {
    const response = await this.#ask(path, {
      method: "POST",
      ...(message === undefined
        ? {}
        : { body: message.text, headers: { "content-type": message.contentType } }),
    });
    const text = await response.text();
    if (response.ok) return text;
    throw new StartupError(`The front at ${this.#label} refused: ${problemOf(text).detail}`, {
      exitCode: response.status === 503 ? EXIT.noBroker : EXIT.wrongUsage,
    });
  }

  async #list(path: string): Promise<string> {
    const response = await this.#ask(path, {});
    const text = await response.text();
    if (response.ok) return text;
    throw new StartupError(`The front at ${this.#label} refused: ${problemOf(text).detail}`);
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    const { url, token, ca } = this.#front;
    const headers = new Headers(init.headers);
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    // A task may run for longer than the runtime would wait for an answer: the front keeps the time.
    const response = await fetch(`${url}${path}`, {
      ...init,
      headers,
      timeout: false,
      ...(ca === undefined ? {} : { tls: { ca } }),
    })
      .catch((error: unknown) => {
        if (init.signal?.aborted) throw error;
        throw new StartupError(`Cannot reach a front at ${this.#label}: ${hintedReason(error)}`, {
          cause: error,
          exitCode: EXIT.noBroker,
        });
      });
    if (response.status !== 401 && response.status !== 403) return response;
    const { detail } = problemOf(await response.text());
    throw new StartupError(
      token === undefined
        ? `The front at ${this.#label} asks for a token: give it with --token or --token-file (${detail})`
        : `The front at ${this.#label} does not accept the token (${detail})`,
    );
  }
}

function queryOf(
  { queue, priority, persistent, once, expiresMs, timeoutMs }: CallOptions,
): string {
  const query = new URLSearchParams({
    ...(timeoutMs === undefined ? {} : { timeout: formatDuration(timeoutMs) }),
    ...(expiresMs === undefined ? {} : { expires: formatDuration(expiresMs) }),
    ...(priority === undefined ? {} : { priority: `${priority}` }),
    ...(queue === undefined ? {} : { queue }),
    ...(persistent ? { persistent: "true" } : {}),
    ...(once ? { once: "true" } : {}),
  });
  return query.size === 0 ? "" : `?${query}`;
}

/** A problem response (RFC 9457), as far as it could be read. */
interface Problem {
  /** The last part of its type, e.g. "timed-out". */
  readonly name: string;
  readonly detail: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function endingOf(task: string, status: number, text: string): Ending {
  if (status === 200) return { kind: "succeeded", resultJson: text, headers: {} };
  const { name, detail, fields } = problemOf(text);
  const error = taskErrorOf(fields, detail);
  if (error !== undefined) return { kind: "failed", error, headers: {} };
  switch (name) {
    case "invalid-input":
      return { kind: "failed", error: { type: "InvalidInput", message: detail }, headers: {} };
    case "timed-out":
      return { kind: "timed_out", limitMs: numberOf(fields["limitMs"]) };
    case "expired":
      return { kind: "expired" };
    case "cancelled":
      return { kind: "cancelled" };
    case "unknown-task":
      return { kind: "unknown_task", task };
    case "unknown-queue":
      return { kind: "unknown_queue", queue: String(fields["queue"] ?? "") };
    case "worker-lost":
      return { kind: "worker_lost", message: detail };
    case "outcome-unknown":
      return { kind: "outcome_unknown", message: detail };
    case "unreadable-reply":
      return { kind: "unreadable_reply", message: detail };
    case "broker-away":
      return { kind: "broker_away", message: detail };
    case "too-many-waiting":
      return { kind: "too_many_waiting", limit: numberOf(fields["limit"]) };
  }
  return status >= 400 && status < 500
    ? { kind: "refused", message: detail }
    : { kind: "unreadable_reply", message: `HTTP ${status}: ${detail}` };
}

function problemOf(text: string): Problem {
  const fields = recordOf(parsed(text));
  const { type, title, detail } = fields ?? {};
  return {
    name: typeof type === "string" ? type.split(/[/#:]/).at(-1) ?? "" : "",
    detail: [detail, title].find((one) => typeof one === "string") ?? shortened(text),
    fields: fields ?? {},
  };
}

/** What the task threw, or what its schema said of the input. */
function taskErrorOf({ error, issues }: Problem["fields"], detail: string): TaskError | undefined {
  const { type, message, stack, issues: inner } = recordOf(error) ??
    (Array.isArray(issues) ? { type: "InvalidInput", message: detail } : {});
  if (typeof type !== "string") return undefined;
  const found = [issues, inner].find(Array.isArray)?.flatMap(issueOf);
  return {
    type,
    message: typeof message === "string" ? message : "",
    ...(typeof stack === "string" ? { stack } : {}),
    ...(found === undefined ? {} : { issues: found }),
  };
}

function issueOf(value: unknown): InputIssue[] {
  const { message, path } = recordOf(value) ?? {};
  return typeof message === "string"
    ? [{ message, path: Array.isArray(path) ? path.map(String) : [] }]
    : [];
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // Not a front's answer; its beginning is shown instead.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : Number.NaN;
}

function shortened(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, " ");
  return line === "" ? "no reason given" : line.length > 200 ? `${line.slice(0, 197)}...` : line;
}

/** What OpenSSL and the runtime call a certificate that is not to be trusted. */
const CERTIFICATE_CODE =
  /CERT|SELF_SIGNED|LEAF_SIGNATURE|ISSUER|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE/;

/** Why a front was not reached, and what can be done about it. */
function hintedReason(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (!CERTIFICATE_CODE.test(code)) {
    return `${reasonOf(error)}. Is "all" or "serve" running there? ` +
      "Another address is given with --url.";
  }
  return `its certificate cannot be trusted: ${reasonOf(error)} (${code}). ` +
    "The authority that signed it is named with --ca-file.";
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? error.code : undefined;
  switch (code) {
    case "ConnectionRefused":
    case "ECONNREFUSED":
      return "connection refused";
    case "FailedToOpenSocket":
    case "ENOTFOUND":
      return "no such host, or it does not answer";
    case "ECONNRESET":
      return "it closed the connection: is it https that is meant?";
    default:
      return error.message;
  }
}
