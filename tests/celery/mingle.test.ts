/** What a worker that starts learns of what was revoked before. */
import { expect, test } from "bun:test";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../src/broker/topology.ts";
import { Mingle, revokedIds } from "../../src/celery/control/mingle.ts";
import scenarios from "../fixtures/celery/control_scenarios.json" with { type: "json" };
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const encoder = new TextEncoder();
const captured = scenarios.find(({ scenario }) => scenario === "second_worker_mingle");

test("revokedIds() reads what a worker of Celery's answers, and no nonsense", () => {
  expect(revokedIds(encoder.encode(JSON.stringify(captured?.reply)))).toHaveLength(8);
  for (
    const odd of [
      "{garbage",
      "null",
      "[]",
      '{"w":null}',
      '{"w":{"error":"x"}}',
      '{"w":{"revoked":["a"]}}',
      '{"w":7}',
    ]
  ) expect(revokedIds(encoder.encode(odd))).toEqual([]);
  const many = Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`id-${index}`, 1]));
  expect(revokedIds(encoder.encode(JSON.stringify({ w: { revoked: many } })))).toHaveLength(50_000);
});

test("Mingle asks as Celery does, hears several answers, and listens no longer after a while", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareExchange(CONTROL_EXCHANGE);
  await broker.declareExchange(CONTROL_REPLY_EXCHANGE);
  const asked: Record<string, unknown>[] = [];
  const others = await broker.openPrivateQueue({
    prefix: "others.",
    bindings: [{ exchange: CONTROL_EXCHANGE.name }],
  });
  void (async () => {
    for await (const { message } of others) {
      asked.push(JSON.parse(new TextDecoder().decode(message.body)));
    }
  })();
  const clock = new FakeClock();
  const learnt: string[] = [];
  const mingle = new Mingle({
    broker,
    name: "coxswain@n1",
    revoke: (ids) => learnt.push(...ids),
    clock,
  });
  await mingle.start();
  await until("the others are asked", () => asked.length === 1);
  expect(asked[0]).toEqual({
    ...captured?.command,
    arguments: { from_node: "coxswain@n1", revoked: {} },
    ticket: expect.any(String),
    reply_to: { exchange: "reply.celery.pidbox", routing_key: expect.any(String) },
  });
  const answer = (body: string) =>
    broker.publish({
      exchange: CONTROL_REPLY_EXCHANGE.name,
      routingKey: String(asked[0]?.["ticket"]),
      properties: {},
      body: encoder.encode(body),
    });
  await answer('{"w1@h":{"revoked":{"a":[1.5,"a"]},"clock":3}}');
  await answer("{garbage");
  await answer('{"w2@h":null}');
  await answer('{"w3@h":{"revoked":{"b":[1.5,"b"]},"clock":3}}');
  await until("both are learnt", () => learnt.length === 2);
  expect(learnt).toEqual(["a", "b"]);
  clock.advance(5_000);
  await mingle.stop();
  expect(clock.timers).toBe(0);
  await others.close();
});
