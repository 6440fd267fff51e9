/**
 * A front and a worker on a real RabbitMQ, and strangers who publish anything to everything that they
 * listen to: their queues and exchanges. Whatever comes, each message is settled, the nodes live, say
 * nothing of errors that nobody caught, and go on answering.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode, until } from "../support/app.ts";
import { longString, publishRaw, shortString, table, uint16 } from "../support/raw_amqp.ts";
import { anyBody, anyJson, wireName, wireTable } from "./arbitraries.ts";
import { holdsLater, LIMIT_MS } from "./runs.ts";

const rabbit = await sharedRabbitMq();
const vhost = "fuzz-nodes";
let front: App;
let worker: App;

beforeAll(async () => {
  rabbit.ctl("add_vhost", vhost);
  rabbit.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*");
  const broker = [
    "--amqp-url",
    `${rabbit.url.replace(/\/$/, "")}/${vhost}`,
    "--heartbeat-broadcast",
    "1",
  ];
  worker = await startNode(["work", ...broker]);
  front = await startNode(["serve", "--port", "0", ...broker]);
  await until(async () => (await front.call("math.add", [1, 2])).status === 200, "an answer");
}, LIMIT_MS);
afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await worker?.[Symbol.asyncDispose]();
}, LIMIT_MS);

/** Where nodes listen, by exchange and key. */
const places = fc.constantFrom(
  ...[
    ["", "demo"],
    ["", "cox.recorder"],
    ["", "cox.dead-letters"],
    ["cox.nodes", ""],
    ["Heartbeat", ""],
    ["cox.jobs", "event.accepted.x"],
    ["cox.jobs", "event.group"],
    ["cox.jobs", "ask.cancelled"],
    ["cox.jobs", "ask.recorder"],
    ["cox.pubsub", "fuzz.channel"],
    ["celery.pidbox", ""],
    ["cox.devices", "x"],
    ["cox.device-status", "online.x"],
  ] as const,
);

/** Flags, then the values of the properties that are set. */
function propertyList(type: string, headers: Uint8Array): Buffer {
  return Buffer.concat([uint16(0xa000), shortString(type), Buffer.from(headers)]);
}

/** A task that a worker has, or none has, with headers of its own that mean something to it. */
const taskProperties = fc.record({
  task: fc.constantFrom("math.add", "echo", "fail", "test", "stat", "nobody.knows"),
  id: fc.oneof(fc.uuid(), fc.constantFrom("x", "\0", "\u{10ffff}", "a".repeat(300))),
  kind: fc.constantFrom("job", "call", "other"),
  compression: fc.option(fc.constantFrom("application/x-gzip", "application/x-bz2", "")),
  retries: fc.integer({ min: -1, max: 300 }),
  /** An instant that no clock has, which cannot be written again. */
  isDated: fc.boolean(),
  name: wireName,
}).map(({ task, id, kind, compression, retries, isDated, name }) =>
  propertyList(
    "application/json",
    table(
      ["task", "S", longString(task)],
      ["id", "S", longString(id)],
      ["cox-kind", "S", longString(kind)],
      // An attempt of the last round: nobody waits for retries.
      ["cox-retry-limit", "I", Buffer.of(0, 0, 0, 0)],
      ["retries", "s", uint16(retries & 0xffff)],
      ["odd", "S", longString(Buffer.from(name))],
      ...(compression === null ? [] : [["compression", "S", longString(compression)] as const]),
      ...(isDated ? [["dated", "T", Buffer.alloc(8, 0x7f)] as const] : []),
    ),
  )
);

const anyList = fc.oneof(
  wireTable.map((headers) => propertyList("application/json", headers)),
  wireTable.map((headers) => propertyList("text/plain", headers)),
);

const triple = fc.tuple(anyJson, anyJson, anyJson).map((parts) => Buffer.from(`[${parts}]`));

const strange = fc.oneof(
  fc.tuple(fc.constant(["", "demo"] as const), taskProperties, fc.oneof(triple, anyBody)),
  fc.tuple(places, fc.oneof(anyList, taskProperties), anyBody),
);

const HERE = ["", "demo"] as const;

/** A header that cannot be written again as it was read, on a message that a worker gives on or up. */
const POISONED = propertyList(
  "application/json",
  table(
    ["task", "S", longString("nobody.knows")],
    ["id", "S", longString("poisoned")],
    ["dated", "T", Buffer.alloc(8, 0x7f)],
  ),
);

/** An id that has no room in a routing key, of a job whose end is told. */
const UNTELLABLE = propertyList(
  "application/json",
  table(
    ["task", "S", longString("echo")],
    ["id", "S", longString("a".repeat(300))],
    ["cox-kind", "S", longString("job")],
  ),
);

test("a stranger's message of any kind is settled, and harms nobody", async () => {
  const residentBefore = residentKiB(front) + residentKiB(worker);
  await holdsLater(
    strange,
    async ([[exchange, queue], properties, body]) => {
      const message = { vhost, exchange, queue, properties, body: Buffer.from(body) };
      // RabbitMQ closes the connection on what is no AMQP, which is not our matter.
      await publishRaw(rabbit.port, message).catch((error: unknown) => {
        expect(String(error)).toMatch(/hung up|got (?:10\.50|20\.40)/);
      });
    },
    150,
    [POISONED, UNTELLABLE].map((properties) => [HERE, properties, Buffer.from("[[],{},1]")]),
  );
  await until(() => unsettled() === 0, "every message to be settled", 25_000);
  expect((await front.call("math.add", [1, 2])).status).toBe(200);
  const accepted = await fetch(`${front.url}/tasks/math.add/jobs`, {
    method: "POST",
    body: "[1,2]",
  });
  const { id } = await accepted.json();
  await until(async () => {
    const { state } = await (await fetch(`${front.url}/jobs/${id}`)).json();
    return state === "succeeded";
  }, "a job to be done and recorded");
  expect((await fetch(`${front.url}/nodes`)).status).toBe(200);
  expect((await fetch(`${front.url}/jobs?limit=100`)).status).toBe(200);
  expect((await fetch(`${front.url}/dead-letters?limit=100`)).status).toBe(200);
  for (const node of [front, worker]) {
    expect(node.isRunning).toBe(true);
    expect(node.log).not.toMatch(/uncaught|unhandled|could not be published|"level":"FATAL"/i);
  }
  expect(residentKiB(front) + residentKiB(worker) - residentBefore).toBeLessThan(400 * 1024);
}, LIMIT_MS);

/** Messages that are in the queues of nodes, or held by them. */
function unsettled(): number {
  const listed = rabbit.ctl("list_queues", "-q", "-p", vhost, "name", "messages");
  return listed.split("\n").reduce((sum, line) => {
    const [name, messages] = line.split("\t");
    return name === "demo" || name?.startsWith("cox.") ? sum + Number(messages) : sum;
  }, 0);
}

function residentKiB({ pid }: App): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
