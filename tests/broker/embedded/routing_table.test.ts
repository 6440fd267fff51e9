/** Routing tables agree with the simple models, whatever is added and removed in which order. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ExchangeType } from "../../../src/broker/broker.ts";
import {
  argumentsKey,
  parseArguments,
  routingTable,
} from "../../../src/broker/embedded/routing_table.ts";
import { TopicTrie } from "../../../src/broker/topic_trie.ts";
import { type ModelBinding, routingModels } from "../../conformance/broker/routing_model.ts";

const types: readonly ExchangeType[] = ["direct", "fanout", "topic", "headers"];

describe("routingTable()", () => {
  for (const type of types) {
    const model = routingModels[type];
    const step = fc.oneof(
      fc.record({ kind: fc.constant("add" as const), target: fc.nat(3), binding: model.binding }),
      fc.record({ kind: fc.constant("remove" as const), which: fc.nat(20) }),
      fc.record({ kind: fc.constant("route" as const), message: model.message }),
    );
    test(`"${type}" routes as its model says after any additions and removals`, () => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
          const table = routingTable<number>(type);
          const present: { target: number; binding: ModelBinding }[] = [];
          for (const now of steps) {
            switch (now.kind) {
              case "add":
                table.add(conditionOf(now.binding), now.target);
                present.push(now);
                break;
              case "remove": {
                const [gone] = present.splice(now.which, 1);
                if (gone !== undefined) table.remove(conditionOf(gone.binding), gone.target);
                break;
              }
              case "route": {
                const { routingKey, headers } = now.message;
                const expected = present
                  .filter(({ binding }) => model.matches(binding, now.message))
                  .map(({ target }) => target);
                expect([...table.route(routingKey, headers)].sort())
                  .toEqual([...new Set(expected)].sort());
              }
            }
          }
        }),
        { numRuns: 500 },
      );
    });
  }

  test("a headers table tells a header that is inherited from one that is there", () => {
    const table = routingTable<string>("headers");
    table.add({ routingKey: "", arguments: { toString: "x" } }, "queue");
    expect(table.route("", {})).toEqual([]);
  });

  test("removing a target that was never added changes nothing", () => {
    for (const type of types) {
      const table = routingTable<string>(type);
      const condition = { routingKey: "a", arguments: {} };
      table.add(condition, "queue");
      table.remove(condition, "other");
      expect(table.route("a", {})).toEqual(["queue"]);
    }
  });
});

describe("TopicTrie", () => {
  test("many # against a long key cost no more than their product", () => {
    const trie = new TopicTrie<string>();
    trie.add(Array.from({ length: 100 }, (_, at) => (at % 2 === 0 ? "#" : "a")).join("."), "queue");
    const key = Array.from({ length: 127 }, () => "a").join(".");
    const start = performance.now();
    expect(trie.match(key)).toEqual(["queue"]);
    expect(trie.match(`${key}.b`)).toEqual(["queue"].slice(1));
    expect(performance.now() - start).toBeLessThan(500);
  });
});

test("argumentsKey() is the same for any order, and reads back", () => {
  const one = { b: 1, a: "x", "x-match": "any" };
  const other = { "x-match": "any", a: "x", b: 1 };
  expect(argumentsKey(one)).toBe(argumentsKey(other));
  expect(parseArguments(argumentsKey(one))).toEqual(one);
  expect(argumentsKey({ a: "1" })).not.toBe(argumentsKey({ a: 1 }));
});

function conditionOf(binding: ModelBinding) {
  return { routingKey: binding.routingKey, arguments: binding.arguments ?? {} };
}
