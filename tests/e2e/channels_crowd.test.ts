/** A thousand subscribers on one front of the compiled executable, and those among them who go or sleep. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type App, startNode, until } from "../support/app.ts";

const SUBSCRIBERS = 1_000;
const MESSAGES = 1_000;
const PUBLISHERS = 16;
const CHANNEL = "/channels/crowd.%23";

let app: App;
beforeAll(async () => {
  app = await startNode(["all", "--port", "0"]);
}, 60_000);
afterAll(() => app[Symbol.asyncDispose]());

const rssMiB = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${app.pid}/status`, "utf8"))?.[1]) / 1_024;

/** An event stream over a bare socket: `fetch` opens no more than 256 at once. */
class Reader {
  /** What the messages say, in the order in which they came; "gap" for a gap. */
  readonly got: string[] = [];
  #socket: Bun.Socket | undefined;
  #rest = "";

  static async open(): Promise<Reader> {
    const { hostname, port } = new URL(app.url);
    const opened = Promise.withResolvers<void>();
    const reader = new Reader();
    const decoder = new TextDecoder();
    const socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, chunk) => {
          opened.resolve();
          reader.#take(decoder.decode(chunk, { stream: true }));
        },
        error: (_, error) => opened.reject(error),
      },
    });
    reader.#socket = socket;
    socket.write(`GET ${CHANNEL} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`);
    await opened.promise;
    return reader;
  }

  /** Reads nothing more, and stays. */
  sleep(): void {
    this.#socket?.pause();
  }

  wake(): void {
    this.#socket?.resume();
  }

  leave(): void {
    this.#socket?.terminate();
  }

  #take(text: string): void {
    this.#rest += text;
    const end = this.#rest.lastIndexOf("\n\n");
    if (end < 0) return;
    const whole = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end);
    for (
      const [, message, missed] of whole.matchAll(/"message":"(\d+) |"gap":"too_slow",("missed")/g)
    ) {
      this.got.push(message ?? missed ?? "");
    }
  }
}

/** Publishes numbers from several connections at once. */
async function publish(count: number, filler: string): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: PUBLISHERS }, async () => {
    while (next < count) {
      const body = JSON.stringify(`${next++} ${filler}`);
      const response = await fetch(`${app.url}/channels/crowd.x`, { method: "POST", body });
      expect(response.status).toBe(202);
      await response.body?.cancel();
    }
  }));
}

test(
  "a thousand subscribers get every message in one order, whoever sleeps or leaves",
  async () => {
    const readers: Reader[] = [];
    while (readers.length < SUBSCRIBERS) {
      readers.push(...await Promise.all(Array.from({ length: 50 }, () => Reader.open())));
    }
    const asleep = readers.splice(0, 3);
    const leaving = readers.splice(0, 50);
    for (const reader of asleep) reader.sleep();
    await publish(MESSAGES / 2, "x");
    for (const reader of leaving) reader.leave();
    await publish(MESSAGES / 2, "y");
    await until(
      () => readers.every(({ got }) => got.length >= MESSAGES),
      "all to get all",
      60_000,
    );
    const order = readers[0]?.got;
    expect(order?.toSorted()).toEqual(
      [0, 1].flatMap(() => Array.from({ length: MESSAGES / 2 }, (_, i) => `${i}`)).toSorted(),
    );
    for (const { got } of readers) expect(got).toEqual(order ?? []);

    // Far more than sockets hold, and than is kept: who sleeps is told when it wakes.
    const before = rssMiB();
    for (const reader of readers.splice(0)) reader.leave();
    await publish(1_000, "z".repeat(100_000));
    expect(rssMiB() - before).toBeLessThan(200);
    for (const reader of asleep) reader.wake();
    await until(
      () => asleep.every(({ got }) => got.includes(`"missed"`) && got.includes("999")),
      "those who slept to be told",
      30_000,
    );
    for (const reader of asleep) reader.leave();
    await until(
      async () => {
        const { status } = await fetch(`${app.url}/channels/crowd.x?wait=0s`);
        return status === 204;
      },
      "room",
    );
  },
  180_000,
);
