/**
 * Consumers: messages from HTTP publishes to an exchange into a handler of a task file, beside a bare
 * AMQP publish and consume of a durable queue. Each is confirmed when it is published and acked when it
 * is handled.
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RabbitMq } from "../services/rabbitmq.ts";
import { openConnection } from "./http_client.ts";
import { cpuMicros, type RunningApp, startApp } from "./nodes.ts";
import { runRawTopic } from "./raw_topic.ts";
import { median } from "./stats.ts";

/** Publishes in flight, and messages that a worker holds at once. */
const CONCURRENCY = 64;
const MESSAGES = 5_000;
const MESSAGE = JSON.stringify({ order: 7, state: "paid", text: "x".repeat(60) });
/** A run that gets no further for so long has lost a message. */
const PATIENCE_MS = 20_000;

/** A handler that leaves one byte for each message: the file's size is how many were handled. */
const tasksOf = (marks: string) => `
  import { openSync, writeSync } from "node:fs";
  import { consume } from "coxswain";

  const marks = openSync(${JSON.stringify(marks)}, "a");
  consume(
    {
      queue: "bench.handled",
      exchange: "bench",
      type: "topic",
      keys: "order.*",
      prefetch: ${CONCURRENCY},
    },
    (order) => {
      if (order.order !== 7) throw new Error("Another message");
      writeSync(marks, "x");
    },
  );
`;

export async function consume(rabbit: RabbitMq, rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "coxswain-bench-"));
  const body = new TextEncoder().encode(MESSAGE);
  const bare: number[] = [];
  const figures = new Map<string, Handled[]>();
  try {
    await using stack = new AsyncDisposableStack();
    const fronts: Place[] = [];
    for (
      const [name, broker] of [["RabbitMQ", ["--amqp-url", rabbit.url]], ["embedded", []]] as const
    ) {
      const marks = join(folder, `${name}.marks`);
      const tasks = join(folder, `${name}.ts`);
      closeSync(openSync(marks, "a"));
      writeFileSync(tasks, tasksOf(marks));
      const args = ["all", "--port", "0", "--no-demo", "--tasks", tasks, ...broker];
      fronts.push({ name, marks, app: stack.use(await startApp(...args)) });
    }
    for (let round = 0; round < rounds; round++) {
      const run = { url: rabbit.url, messages: MESSAGES, concurrency: CONCURRENCY, body };
      bare.push(await runRawTopic({ ...run, isAcked: true }));
      for (const place of fronts) {
        figures.set(place.name, [...figures.get(place.name) ?? [], await handle(place)]);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const yardstick = median(bare);
  tell("bare AMQP, durable, confirmed and acked", `${Math.round(yardstick)}/s`);
  for (const [name, results] of figures) {
    const published = median(results.map(({ publishedPerSecond }) => publishedPerSecond));
    const handled = median(results.map(({ handledPerSecond }) => handledPerSecond));
    const cpu = median(results.map(({ cpuMicros }) => cpuMicros));
    tell(
      `POST to an exchange into a handler, ${name}`,
      `${Math.round(handled)}/s  ${(handled / yardstick).toFixed(2)} ×  ` +
        `published ${Math.round(published)}/s  ${cpu.toFixed(0)} µs of the process each`,
    );
  }
}

/** A process with front, worker and consumer, and where its handler leaves its marks. */
interface Place {
  readonly name: string;
  readonly marks: string;
  readonly app: RunningApp;
}

interface Handled {
  readonly publishedPerSecond: number;
  readonly handledPerSecond: number;
  /** Processor time of the whole process for each message, from request to ack. */
  readonly cpuMicros: number;
}

/** From the first publish until the handler has had every message. */
async function handle({ app, marks }: Place): Promise<Handled> {
  const url = `${app.url}/exchanges/bench?key=order.paid`;
  const connections = await Promise.all(
    Array.from({ length: CONCURRENCY }, () => openConnection(url, MESSAGE)),
  );
  const had = statSync(marks).size;
  const cpuBefore = cpuMicros(app.pid);
  const start = performance.now();
  let published = 0;
  await Promise.all(connections.map(async (connection) => {
    while (published < MESSAGES) {
      published += 1;
      if (!(await connection.request())) throw new Error("A message was not taken");
    }
  }));
  const publishedMs = performance.now() - start;
  let handled = statSync(marks).size - had;
  let grewAt = performance.now();
  while (handled < MESSAGES) {
    await Bun.sleep(2);
    const now = statSync(marks).size - had;
    if (now > handled) grewAt = performance.now();
    if (performance.now() > grewAt + PATIENCE_MS) throw new Error(`${now} of ${MESSAGES} came`);
    handled = now;
  }
  const handledMs = performance.now() - start;
  for (const connection of connections) connection.close();
  if (handled !== MESSAGES) throw new Error(`${handled} messages were handled, of ${MESSAGES}`);
  return {
    publishedPerSecond: MESSAGES / publishedMs * 1_000,
    handledPerSecond: MESSAGES / handledMs * 1_000,
    cpuMicros: (cpuMicros(app.pid) - cpuBefore) / MESSAGES,
  };
}

function tell(name: string, figure: string): void {
  console.log(`${name.padEnd(52)} ${figure}`);
}
