/** One recorder a broker where its store is its own, any number on a shared one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type RabbitMq, startRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../../src/broker/broker.ts";
import { RecorderClaim, RecorderTakenError } from "../../../src/jobs/recorder/claim.ts";
import { JobEventPublisher } from "../../../src/jobs/event_publisher.ts";
import { Answers } from "../../../src/jobs/recorder/answers.ts";
import { systemClock } from "../../../src/lifecycle/clock.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { until } from "../../support/waiting.ts";

let rabbit: RabbitMq;

beforeAll(async () => {
  // RabbitMQ negotiates the lower of both sides' heartbeats.
  rabbit = await startRabbitMq({ config: ["heartbeat = 2"] });
}, 60_000);
afterAll(() => rabbit.dispose(), 60_000);

interface Claimant extends AsyncDisposable {
  readonly broker: Broker;
  readonly claim: RecorderClaim;
  /** What it was told, in order. */
  readonly told: string[];
}

/** A recorder as far as its place goes. */
async function claimant(
  node: string,
  { isShared = false, url = rabbit.url } = {},
): Promise<Claimant> {
  const broker = createAmqpBroker({ url, name: node });
  await broker.start();
  await JobEventPublisher.declare(broker);
  const told: string[] = [];
  const place = isShared ? "postgres://db/jobs" : `/${node}/jobs.sqlite`;
  const claim: RecorderClaim = new RecorderClaim({
    broker,
    node,
    place,
    isShared,
    clock: systemClock,
    taken: () => told.push("taken"),
    unsure: () => told.push("unsure"),
    refused: () => told.push("refused"),
  });
  const answers = new Answers({
    broker,
    store: new SqliteStore({ dataDir: "/nowhere" }),
    node,
    clock: systemClock,
    facts: () =>
      claim.state === "taken" || claim.state === "unsure" ? { node, place, isShared } : undefined,
    due: () => undefined,
  });
  await answers.start();
  return {
    broker,
    claim,
    told,
    async [Symbol.asyncDispose]() {
      await claim.stop();
      await answers.stop();
      await broker.stop();
    },
  };
}

async function refusalOf(other: Claimant): Promise<string> {
  const error = await other.claim.start().then(() => undefined, (failure: unknown) => failure);
  expect(error).toBeInstanceOf(RecorderTakenError);
  return error instanceof Error ? error.message : "";
}

test("a second one is refused at once, and told by whom and what to do", async () => {
  await using first = await claimant("first");
  await first.claim.start();
  expect(first.told).toEqual(["taken"]);
  for (const isShared of [false, true]) {
    await using second = await claimant("second", { isShared });
    const startedAt = performance.now();
    expect(await refusalOf(second)).toMatch(
      /node "first" keeps.*\/first\/jobs\.sqlite.*PostgreSQL.*--store postgres:\/\/.*--no-recorder/,
    );
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  }
});

test("of two that start at the same time one has it", async () => {
  await using one = await claimant("one");
  await using two = await claimant("two");
  const results = await Promise.allSettled([one.claim.start(), two.claim.start()]);
  await until(
    "both know",
    () =>
      [one, two].every(({ told, claim }, index) =>
        results[index]?.status === "rejected" || told.length > 0 || claim.state === "taken"
      ),
  );
  const refused = [one, two].filter(({ told }, index) =>
    results[index]?.status === "rejected" || told.includes("refused")
  );
  expect(refused).toHaveLength(1);
  expect([...one.told, ...two.told].filter((word) => word === "taken")).toHaveLength(1);
}, 30_000);

test("on a shared store there may be many, and none beside them with its own", async () => {
  await using one = await claimant("one", { isShared: true });
  await using two = await claimant("two", { isShared: true });
  await one.claim.start();
  await two.claim.start();
  await using own = await claimant("own");
  expect(await refusalOf(own)).toContain("postgres://db/jobs");
});

test("it is free when whoever had it stops, or its process is gone", async () => {
  const first = await claimant("first");
  await first.claim.start();
  await first[Symbol.asyncDispose]();
  await using second = await claimant("second");
  await second.claim.start();
  expect(second.told).toEqual(["taken"]);
});

test("after a restart of the broker it is had again, and nobody else gets it", async () => {
  await using first = await claimant("first");
  await first.claim.start();
  await rabbit.stop();
  await rabbit.start();
  await until("it is had again", () => first.told.length >= 3, 30_000);
  expect(first.told).toEqual(["taken", "unsure", "taken"]);
  await using second = await claimant("second");
  expect(await refusalOf(second)).toContain('node "first"');
}, 60_000);

test(
  "one that is cut off is succeeded when the broker has noticed, and yields on its return",
  async () => {
    await using proxy = new TcpProxy(rabbit.port);
    const url = `amqp://guest:guest@127.0.0.1:${proxy.port}/`;
    await using first = await claimant("first", { url });
    await first.claim.start();
    proxy.swallow("toTarget", "toClient");
    await using second = await claimant("second");
    await second.claim.start();
    // Nobody answers, and the broker still believes in the first one.
    expect(second.claim.state).toBe("taking");
    await until("the second one has it", () => second.told.includes("taken"), 30_000);
    proxy.carry();
    await proxy.cut();
    await until("the first one knows", () => first.told.includes("refused"), 30_000);
    expect(second.claim.state).toBe("taken");
  },
  90_000,
);
