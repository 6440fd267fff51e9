/** The remote control over a broker: what is heard and answered, and what harms nothing. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../src/broker/topology.ts";
import { encodeQueueCommand } from "../../src/calls/wire/control_message.ts";
import { ControlListener } from "../../src/celery/control/control_listener.ts";
import { type ControlPanel, NO_FACTS } from "../../src/celery/control/panel.ts";
import { LogicalClock } from "../../src/celery/logical_clock.ts";
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const NAME = "coxswain@n1";

function panel(): ControlPanel {
  return {
    name: NAME,
    facts: NO_FACTS,
    figures: {
      total: {},
      pid: 1,
      uptimeMs: 0,
      isolates: 1,
      slots: 1,
      maxTasksPerIsolate: undefined,
      prefetch: 1,
      rusage: {},
      memoryBytes: 0,
    },
    tasks: [],
    held: [],
    revoked: [],
    queues: [],
    revoke: () => [],
    limit: () => false,
    addQueue: () => Promise.resolve(),
    cancelQueue: () => Promise.resolve(),
    resize: () => undefined,
    tellEvents: () => Promise.resolve(true),
    beat: () => undefined,
    shutDown: () => undefined,
  };
}

async function scene(folder: DataFolder, prepare?: (broker: Broker) => Promise<void>) {
  const broker = await folder.connect();
  await prepare?.(broker);
  const clock = new FakeClock();
  const logicalClock = new LogicalClock();
  const steered: unknown[] = [];
  const listener = new ControlListener({
    broker,
    node: "n1",
    panel: panel(),
    logicalClock,
    steer: (command) => steered.push(command),
    onBack: () => undefined,
    clock,
  });
  await listener.start();
  const answers: { body: unknown; headers: unknown }[] = [];
  const replies = await broker.openPrivateQueue({
    prefix: "replies.",
    bindings: [{ exchange: CONTROL_REPLY_EXCHANGE.name, routingKey: "me" }],
  });
  void (async () => {
    for await (const { message: { body, properties: { headers } } } of replies) {
      answers.push({ body: JSON.parse(new TextDecoder().decode(body)), headers });
    }
  })();
  const publish = (body: Uint8Array, headers: Record<string, number> = {}) =>
    broker.publish({
      exchange: CONTROL_EXCHANGE.name,
      routingKey: "",
      properties: { contentType: "application/json", headers },
      body,
    });
  const ask = (command: Record<string, unknown>, headers?: Record<string, number>) =>
    publish(
      new TextEncoder().encode(JSON.stringify({
        reply_to: { exchange: CONTROL_REPLY_EXCHANGE.name, routing_key: "me" },
        ...command,
      })),
      headers,
    );
  return { broker, clock, logicalClock, steered, listener, answers, publish, ask };
}

/** What was answered, once all that was sent before was heard. */
async function answered(
  { ask, answers }: Pick<Awaited<ReturnType<typeof scene>>, "ask" | "answers">,
) {
  const isLast = ({ headers }: { headers: unknown }) => JSON.stringify(headers).includes("last");
  await until("the last answer", async () => {
    await ask({ method: "ping", ticket: "last" });
    return answers.some(isLast);
  });
  return answers.filter((answer) => !isLast(answer));
}

describe("ControlListener", () => {
  test("answers with its name, the ticket and a growing clock", async () => {
    await using folder = new DataFolder();
    const { ask, answers, listener, logicalClock } = await scene(folder);
    await ask({ method: "ping", ticket: "t1" }, { clock: 40 });
    await until("an answer", () => answers.length === 1);
    expect(answers).toEqual([{
      body: { [NAME]: { ok: "pong" } },
      headers: { ticket: "t1", clock: 42 },
    }]);
    expect(logicalClock.value).toBe(42);
    await listener.stop();
    await listener.stop();
  });

  test("says nothing to what is for others, is over, wants no answer, or is no command", async () => {
    await using folder = new DataFolder();
    const told = await scene(folder);
    const { ask, publish, clock, listener } = told;
    await ask({ method: "ping", destination: ["other@h"] });
    await ask({ method: "ping", pattern: "z*", matcher: "glob" });
    await ask({ method: "ping", pattern: "z*", matcher: "odd" });
    await ask({ method: "ping", reply_to: undefined });
    await ask({ method: "shutdown" });
    await ask({ method: "ping" }, { expires: Math.floor(clock.now() / 1_000) - 10 });
    await ask({ method: "ping", reply_to: { exchange: "nowhere", routing_key: "me" } });
    await publish(new TextEncoder().encode("{garbage"));
    await publish(new Uint8Array([0, 255]));
    expect(await answered(told)).toEqual([]);
    await listener.stop();
  });

  test("a flood is answered in part, and harms nothing", async () => {
    await using folder = new DataFolder();
    const told = await scene(folder);
    await Promise.all(
      Array.from({ length: 2_000 }, () => told.ask({ method: "ping", ticket: "flood" })),
    );
    expect((await answered(told)).length).toBeGreaterThan(0);
    await told.listener.stop();
  });

  test("commands of our own steer without an answer", async () => {
    await using folder = new DataFolder();
    const told = await scene(folder);
    await told.broker.publish(encodeQueueCommand("q", true));
    expect(await answered(told)).toEqual([]);
    expect(told.steered).toEqual([{ queue: "q", isPaused: true, isRemembered: true }]);
    await told.listener.stop();
  });

  test("goes on where the exchanges are declared otherwise", async () => {
    await using folder = new DataFolder();
    const told = await scene(
      folder,
      (broker) => broker.declareExchange({ ...CONTROL_EXCHANGE, durable: true }),
    );
    expect(await answered(told)).toEqual([]);
    await told.listener.stop();
  });
});
