/**
 * What a soak does beside calls and jobs: publishes, channels, devices, calls that hang, clients that go
 * away.
 */
import type { DeviceCrowd } from "../device_crowd.ts";

/** Tasks and a consumer for it; they note nothing. */
export const MIXED_TASKS = `
import { consume, context, task } from "coxswain";
let taken = 0;
consume({ queue: "soak.messages", exchange: "soak", type: "topic", keys: "#" }, () => { taken++; });
task("soak.spin", { timeout: "300ms", retry: { limit: 0 } }, () => { while (true) {} });
task("soak.wait", { timeout: "5s" }, () => new Promise((resolve) => {
  context.signal.addEventListener("abort", () => resolve("stopped"));
}));
task("soak.publish", async (n) => { await context.pubsub.publish("soak.from-task", n); return n; });
task("soak.process", { isolation: "process", timeout: "5s" }, (n) => n);
`;

const ANSWER_LIMIT_MS = 20_000;
/** Channel streams that stay, and how long those live that come and go. */
const STEADY_STREAMS = 10;
const STREAM_LIFE_MS = 2_000;
const READS = ["/jobs?limit=20", "/nodes", "/tasks", "/queues", "/readyz", "/dead-letters"];

/** How often each thing is done, in milliseconds. */
const RHYTHMS = {
  message: 100,
  channel: 100,
  publishTask: 1_000,
  processTask: 2_000,
  spin: 3_000,
  goneClient: 1_000,
  stream: 1_000,
  read: 1_000,
  cancelledJob: 2_000,
  command: 500,
  droppedDevice: 1_000,
} as const;

export class MixedLoad {
  readonly #url: string;
  readonly #devices: DeviceCrowd;
  readonly #over = new AbortController();
  readonly #loops: Promise<void>[] = [];
  #reads = 0;
  #commands = 0;
  #drops = 0;
  /** How often each thing was done, whatever came of it: the broker dies now and then. */
  readonly done = new Map<string, number>();

  constructor(url: string, devices: DeviceCrowd) {
    this.#url = url;
    this.#devices = devices;
  }

  start(): void {
    const json = (value: unknown) => ({ method: "POST", body: JSON.stringify(value) });
    this.#every(
      "message",
      () => this.#ask("/exchanges/soak?key=a.b&type=topic", json({ at: Date.now() })),
    );
    this.#every("channel", () => this.#ask("/channels/soak.news", json({ at: Date.now() })));
    this.#every("publishTask", () => this.#ask("/tasks/soak.publish/call", json([1])));
    this.#every("processTask", () => this.#ask("/tasks/soak.process/call", json([1])));
    this.#every("spin", () => this.#ask("/tasks/soak.spin/call", json([])));
    this.#every("goneClient", () => this.#ask("/tasks/soak.wait/call", json([]), 100));
    this.#every("stream", () => this.#stream(STREAM_LIFE_MS));
    this.#every("read", () => this.#ask(READS[this.#reads++ % READS.length] ?? "/nodes", {}));
    this.#every("cancelledJob", () => this.#cancelledJob());
    this.#every("command", () => this.#command());
    this.#every("droppedDevice", () => Promise.resolve(this.#devices.drop(this.#drops++)));
    for (let i = 0; i < STEADY_STREAMS; i++) this.#loops.push(this.#keepStream());
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#loops);
  }

  /** One at a time of each kind: what hangs is not piled up. */
  #every(kind: keyof typeof RHYTHMS, once: () => Promise<unknown>): void {
    this.#loops.push((async () => {
      while (!this.#over.signal.aborted) {
        await once();
        this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
        await this.#pause(RHYTHMS[kind]);
      }
    })());
  }

  async #keepStream(): Promise<void> {
    while (!this.#over.signal.aborted) {
      await this.#stream(undefined);
      await this.#pause(500);
    }
  }

  async #ask(path: string, init: RequestInit, limitMs = ANSWER_LIMIT_MS): Promise<unknown> {
    return await quietly(async () => {
      const response = await fetch(`${this.#url}${path}`, {
        ...init,
        signal: AbortSignal.any([this.#over.signal, AbortSignal.timeout(limitMs)]),
      });
      const text = await response.text();
      return response.ok ? JSON.parse(text) : undefined;
    });
  }

  /** Reads a channel as an event stream, until it ends or its time is over. */
  async #stream(lifeMs: number | undefined): Promise<void> {
    await quietly(async () => {
      const { signal } = this.#over;
      const response = await fetch(`${this.#url}/channels/soak.*`, {
        headers: { accept: "text/event-stream" },
        signal: lifeMs === undefined
          ? signal
          : AbortSignal.any([signal, AbortSignal.timeout(lifeMs)]),
      });
      for await (const _ of response.body ?? []) { /* Only to be read. */ }
    });
  }

  async #command(): Promise<void> {
    const { ids } = this.#devices;
    const id = ids[this.#commands++ % Math.max(1, ids.length)];
    if (id === undefined) return;
    const body = JSON.stringify({ cmd: "how are you" });
    await this.#ask(`/devices/${id}/commands?reply=2s`, { method: "POST", body });
  }

  async #cancelledJob(): Promise<void> {
    const body = JSON.stringify([0]);
    const job = await this.#ask("/tasks/soak.publish/jobs?delay=1h", { method: "POST", body });
    if (typeof job !== "object" || job === null || !("id" in job)) return;
    await this.#ask(`/jobs/${job.id}`, { method: "DELETE" });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#over;
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  }
}

/** A request that fails belongs to a soak: nodes and the broker come and go. */
async function quietly<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
