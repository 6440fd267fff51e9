/**
 * The load of every fault run: clients that want jobs accepted and calls answered, at a steady pace, and
 * enter in the ledger what became of each. A client of jobs asks again until its job is accepted.
 */
import type { CallRecord, Ledger, Submission } from "./ledger.ts";

export interface LoadOptions {
  readonly url: string;
  readonly ledger: Ledger;
  readonly jobsPerSecond: number;
  readonly callsPerSecond: number;
  /** How long one job in eleven works, in milliseconds. */
  readonly longJobMs?: number;
  /** Of a job without an answer: what a client does that gives up on it. In milliseconds. */
  readonly jobPatienceMs?: number;
}

/** Each client has one request under way. */
const JOB_CLIENTS = 16;
const CALL_CLIENTS = 16;
const CALL_EXPIRES_MS = 4_000;
/** As ledger.call says. */
const CALL_LIMIT_MS = 3_000;
/** Expiry, limit, and what notices and answers may take; with room for a busy machine. */
export const CALL_DEADLINE_MS = CALL_EXPIRES_MS + CALL_LIMIT_MS + 5_000;
const CALL_PATIENCE_MS = 30_000;
const PAUSE_AFTER_REFUSAL_MS = 100;

/** What a job's number makes of it: one in so many is… */
const DELAYED = 20;
const RETRYING = 23;
const KEYED = 7;
const LONG = 11;
/** …and of a call's. */
const ONCE = 5;
const LONG_CALL = 13;

export class Load {
  readonly #options: Required<LoadOptions>;
  readonly #clients: Promise<void>[] = [];
  #isOver = false;
  #jobs = 0;
  #calls = 0;
  /** Instants (monotonic) at which requests that went well had been sent. */
  #lastGoodCallAt = -Infinity;
  #lastGoodJobAt = -Infinity;

  constructor(options: LoadOptions) {
    this.#options = {
      jobPatienceMs: 15_000,
      longJobMs: 300,
      ...options,
    };
  }

  start(): void {
    const { jobsPerSecond, callsPerSecond } = this.#options;
    this.#begin(JOB_CLIENTS, jobsPerSecond, () => this.#job(this.#jobs++));
    this.#begin(CALL_CLIENTS, callsPerSecond, () => this.#call(this.#calls++));
  }

  /** Sends nothing new; resolves when the last answers are there. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  /**
   * Waits until a call and a job that were sent from now on went well.
   * @returns the milliseconds that it took, or undefined past the limit.
   */
  async recovery(limitMs: number): Promise<number | undefined> {
    const from = performance.now();
    const hasJobs = this.#options.jobsPerSecond > 0;
    while (this.#lastGoodCallAt < from || (hasJobs && this.#lastGoodJobAt < from)) {
      if (performance.now() - from > limitMs) return undefined;
      await Bun.sleep(20);
    }
    return Math.round(performance.now() - from);
  }

  #begin(clients: number, perSecond: number, once: () => Promise<void>): void {
    if (perSecond === 0) return;
    const everyMs = clients * 1_000 / perSecond;
    for (let client = 0; client < clients; client++) {
      this.#clients.push((async () => {
        await Bun.sleep(everyMs * client / clients);
        while (!this.#isOver) {
          const sentAt = performance.now();
          await once();
          const restMs = everyMs - (performance.now() - sentAt);
          if (restMs > 0) await Bun.sleep(restMs);
        }
      })());
    }
  }

  async #job(n: number): Promise<void> {
    const { ledger } = this.#options;
    const isKeyed = n % KEYED === 0;
    while (true) {
      const sentAt = performance.now();
      const submission = await this.#submit(n, isKeyed);
      ledger.submitted(n, isKeyed, submission);
      if (submission.kind === "accepted") {
        this.#lastGoodJobAt = Math.max(this.#lastGoodJobAt, sentAt);
        return;
      }
      if (this.#isOver) return;
      await Bun.sleep(PAUSE_AFTER_REFUSAL_MS);
    }
  }

  async #submit(n: number, isKeyed: boolean): Promise<Submission> {
    const { url, jobPatienceMs, longJobMs } = this.#options;
    const query = n % DELAYED === 0 ? "?delay=1s" : "";
    const input = [n, n % RETRYING === 0 ? 2 : 0, n % LONG === 0 ? longJobMs : 0];
    const answer = await post(
      `${url}/tasks/ledger.job/jobs${query}`,
      input,
      jobPatienceMs,
      isKeyed ? { "idempotency-key": `n${n}` } : {},
    );
    if (answer.status === 202 && typeof answer.body.id === "string") {
      return { kind: "accepted", id: answer.body.id };
    }
    const isOpen = answer.status === 0 || problemOf(answer) === "acceptance-unknown";
    return { kind: isOpen ? "open" : "refused" };
  }

  async #call(n: number): Promise<void> {
    const { url, ledger } = this.#options;
    const isOnce = n % ONCE === 0;
    const query = `?expires=${CALL_EXPIRES_MS}ms${isOnce ? "&once=true" : ""}`;
    const sentAt = performance.now();
    const answer = await post(
      `${url}/tasks/ledger.call/call${query}`,
      [n, n % LONG_CALL === 0 ? 300 : 0],
      CALL_PATIENCE_MS,
    );
    const record: CallRecord = {
      n,
      isOnce,
      status: answer.status,
      problem: answer.status === 200 ? "" : problemOf(answer),
      isRight: answer.status !== 200 || answer.value === n,
      tookMs: performance.now() - sentAt,
    };
    ledger.called(record);
    if (answer.status === 200) this.#lastGoodCallAt = Math.max(this.#lastGoodCallAt, sentAt);
    else await Bun.sleep(PAUSE_AFTER_REFUSAL_MS);
  }
}

interface Answer {
  /** 0: none. */
  readonly status: number;
  readonly value: unknown;
  readonly body: Readonly<Record<string, unknown>>;
}

async function post(
  url: string,
  input: unknown,
  patienceMs: number,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  try {
    const response = await fetch(url, {
      method: "POST",
      body: JSON.stringify(input),
      headers,
      signal: AbortSignal.timeout(patienceMs),
    });
    const value: unknown = await response.json();
    return { status: response.status, value, body: isRecord(value) ? value : {} };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { status: 0, value: undefined, body: {} };
  }
}

function problemOf({ body }: Answer): string {
  return typeof body.type === "string" ? body.type.split(/[/:#]/).at(-1) ?? "" : "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
