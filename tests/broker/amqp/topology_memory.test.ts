/** What is remembered for the next connection. */
import { expect, test } from "bun:test";
import { TopologyMemory } from "../../../src/broker/amqp/topology_memory.ts";

function filled(): TopologyMemory {
  const memory = new TopologyMemory();
  memory.addExchange({ name: "e", type: "topic" });
  memory.addExchange({ name: "f", type: "fanout" });
  memory.addQueue({ name: "q" });
  memory.addQueue({ name: "r" });
  memory.addBinding({ exchange: "e", queue: "q", routingKey: "a" });
  memory.addBinding({ exchange: "f", queue: "q" });
  memory.addBinding({ exchange: "f", queue: "r" });
  return memory;
}

test("the latest declaration of a name counts", () => {
  const memory = filled();
  memory.addQueue({ name: "q", maxPriority: 5 });
  expect(memory.all().queues).toEqual([{ name: "q", maxPriority: 5 }, { name: "r" }]);
});

test("a binding is known by all its parts, however they are written", () => {
  const memory = filled();
  memory.addBinding({ exchange: "f", queue: "q", routingKey: "", arguments: {} });
  memory.addBinding({ exchange: "h", queue: "q", arguments: { a: 1, b: "2" } });
  memory.addBinding({ exchange: "h", queue: "q", arguments: { b: "2", a: 1 } });
  memory.addBinding({ exchange: "h", queue: "q", arguments: { b: 2, a: 1 } });
  expect(memory.all().bindings.length).toBe(5);
  memory.removeBinding({ exchange: "h", queue: "q", arguments: { b: "2", a: 1 } });
  memory.removeBinding({ exchange: "e", queue: "q", routingKey: "other" });
  expect(memory.all().bindings.length).toBe(4);
});

test("a queue or an exchange comes with its own bindings", () => {
  const memory = filled();
  expect(memory.ofQueue("r")).toEqual({
    exchanges: [],
    queues: [{ name: "r" }],
    bindings: [{ exchange: "f", queue: "r" }],
  });
  expect(memory.ofExchange("f")?.bindings.length).toBe(2);
  expect(memory.ofQueue("e")).toBeUndefined();
  expect(memory.ofExchange("q")).toBeUndefined();
});

test("a removed queue takes its bindings along", () => {
  const memory = filled();
  memory.removeQueue("q");
  expect(memory.all().queues).toEqual([{ name: "r" }]);
  expect(memory.all().bindings).toEqual([{ exchange: "f", queue: "r" }]);
});
