/**
 * What events for Celery's tools cost a worker: calls over RabbitMQ with `--task-events` and without, in
 * turn, and the worker's processor time for each call. Events off must cost nothing.
 */
import type { RabbitMq } from "../services/rabbitmq.ts";
import { cpuMicros, openCaller, startApp } from "./nodes.ts";
import { line, measure, median, medianRound, type Round } from "./stats.ts";

const INPUT = { argsJson: '["hello"]', kwargsJson: "{}" };
const CONCURRENCY = 64;
const KINDS: readonly (readonly [string, string, readonly string[]])[] = [
  ["no events", "events-off", []],
  ["task events", "events-on", ["--task-events"]],
];

export async function celeryEvents(
  rabbit: RabbitMq,
  rounds: number,
  seconds: number,
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const contenders = [];
  for (const [name, vhost, args] of KINDS) {
    rabbit.ctl("add_vhost", vhost);
    rabbit.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*");
    const url = `${rabbit.url}${vhost}`;
    const worker = stack.use(await startApp("work", "--amqp-url", url, ...args));
    const { caller } = stack.use(await openCaller(url));
    const call = async () => (await caller.call("echo", INPUT)).kind === "succeeded";
    await measure(call, { concurrency: CONCURRENCY, seconds: 0.5 });
    const measured: Round[] = [];
    contenders.push({ name, worker, call, measured, micros: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { worker, call, measured, micros } of contenders) {
      const before = cpuMicros(worker.pid);
      const one = await measure(call, { concurrency: CONCURRENCY, seconds });
      measured.push(one);
      micros.push((cpuMicros(worker.pid) - before) / (one.perSecond * seconds));
    }
  }
  const [first] = contenders;
  for (const { name, measured, micros } of contenders) {
    const base = first && first.name !== name ? medianRound(first.measured) : undefined;
    console.log(line(`calls with ${name}, ${CONCURRENCY} in flight`, medianRound(measured), base));
    console.log(`  worker: ${median(micros).toFixed(1)} µs of processor time a call`);
  }
}
