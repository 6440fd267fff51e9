/** What a job's acceptance is when the broker is lost, or says no, at the worst moment. */
import { expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../../src/broker/errors.ts";
import { JOBS_EXCHANGE, RECORDER_QUEUE, taskQueue } from "../../src/broker/topology.ts";
import { parseInput } from "../../src/calls/input.ts";
import { Enqueuer } from "../../src/jobs/enqueuer.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { makeFolder } from "../support/folders.ts";
import { until } from "../support/waiting.ts";
import { REMEMBERED } from "./front_scene.ts";

/** The broker, but for what becomes of messages to one exchange, after which it may be taken or not. */
function failing(broker: Broker, exchange: string, error: Error, isTaken: boolean): Broker {
  const publish: Broker["publish"] = async (message, options) => {
    if (message.exchange !== exchange) return await broker.publish(message, options);
    if (isTaken) await broker.publish(message, options);
    throw error;
  };
  return new Proxy(broker, {
    get(target, name) {
      if (name === "publish") return publish;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function scene(
  run: (parts: {
    readonly broker: Broker;
    readonly store: SqliteStore;
    readonly enqueuer: (broker: Broker) => Enqueuer;
    readonly depth: (queue: string) => Promise<number>;
  }) => Promise<void>,
): Promise<void> {
  await using folder = await makeFolder({});
  const broker = new EmbeddedBroker({ dataDir: `${folder.path}/broker` }).connect();
  await broker.start();
  const store = new SqliteStore({ dataDir: `${folder.path}/store` });
  await store.open();
  await broker.declareQueue(taskQueue(REMEMBERED.queue, "classic"));
  try {
    await run({
      broker,
      store,
      depth: async (queue) => (await broker.inspectQueue(queue))?.messages ?? 0,
      enqueuer: (broker) =>
        new Enqueuer({
          broker,
          store,
          directory: {
            descriptor: () => REMEMBERED,
            settled: () => Promise.resolve(),
            isSettled: true,
          },
          node: "front",
          version: "test",
          queueType: "classic",
          maxUnderway: 10,
        }),
    });
  } finally {
    await broker.stop();
    await store.close();
  }
}

const AWAY = new BrokerAwayError("the connection was lost");
const REQUEST = { task: REMEMBERED.name, input: parseInput("[1]") };

test("accept() is unknown where the message's confirm was lost, and nothing tells of the job", () =>
  scene(async ({ broker, enqueuer, depth }) => {
    for (const isTaken of [true, false]) {
      const accepting = enqueuer(failing(broker, "", AWAY, isTaken));
      await accepting.start();
      const acceptance = await accepting.accept(REQUEST);
      expect(acceptance).toMatchObject({ kind: "outcome_unknown" });
      expect(accepting.underway).toBe(0);
    }
    expect(await depth(REMEMBERED.queue)).toBe(1);
    expect(await depth(RECORDER_QUEUE.name)).toBe(0);
  }));

test("accept() is refused where the broker says no, and nothing tells of the job", () =>
  scene(async ({ broker, enqueuer, depth }) => {
    const refusing = failing(broker, "", new PublishRefusedError("too large"), false);
    const accepting = enqueuer(refusing);
    await accepting.start();
    expect(await accepting.accept(REQUEST)).toEqual({ kind: "refused", message: "too large" });
    expect(await depth(RECORDER_QUEUE.name)).toBe(0);
  }));

test("accept() is accepted where only the event is refused: whoever runs the job tells of it", () =>
  scene(async ({ broker, enqueuer, depth }) => {
    const refusing = failing(broker, JOBS_EXCHANGE.name, new PublishRefusedError("no"), false);
    const accepting = enqueuer(refusing);
    await accepting.start();
    expect((await accepting.accept(REQUEST)).kind).toBe("accepted");
    expect(await depth(REMEMBERED.queue)).toBe(1);
  }));

test("accept() with a key is accepted once it is stored, and the recorder is to publish it", () =>
  scene(async ({ broker, store, enqueuer }) => {
    const accepting = enqueuer(failing(broker, "", AWAY, false));
    await accepting.start();
    const acceptance = await accepting.accept({ ...REQUEST, options: { uniqueKey: "k" } });
    expect(acceptance).toMatchObject({ kind: "accepted", isDelayed: false });
    const [due] = await store.due(Date.now() + 60_000, 10);
    expect(due?.state).toBe("scheduled");
    expect(due?.payload?.input.argsJson).toBe("[1]");
  }));

test("accept() with a key ends the job where the broker will never take its message", () =>
  scene(async ({ broker, store, enqueuer, depth }) => {
    const accepting = enqueuer(failing(broker, "", new PublishRefusedError("too large"), false));
    await accepting.start();
    const idempotency = { key: "k", fingerprint: "f" };
    expect((await accepting.accept({ ...REQUEST, idempotency })).kind).toBe("refused");
    await until("its end is told", async () => await depth(RECORDER_QUEUE.name) === 1);
    expect(
      await accepting.accept({ ...REQUEST, idempotency: { ...idempotency, fingerprint: "g" } }),
    )
      .toMatchObject({ kind: "conflict", key: "k" });
    expect((await store.stats()).byState.scheduled).toBe(1);
  }));
