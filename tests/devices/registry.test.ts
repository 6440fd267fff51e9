import { expect, test } from "bun:test";
import { Epochs } from "../../src/devices/epochs.ts";
import { Registry } from "../../src/devices/registry.ts";
import { SessionScene } from "./session_scene.ts";

test("Registry lets in as many as there is room for, in all and of one address", () => {
  const registry = new Registry({ maxConnections: 3, maxPerAddress: 2 });
  const kinds = ["a", "a", "a", "b", "c"].map((host) => registry.enter(host).kind);
  expect(kinds).toEqual(["admitted", "admitted", "refused", "admitted", "refused"]);
  registry.leave("a");
  expect(registry.enter("c").kind).toBe("admitted");
  expect(registry.enter("a").kind).toBe("refused");
  expect(registry.connections).toBe(3);
});

test("Registry has one session of an id, and lets go of that one alone", () => {
  const registry = new Registry({ maxConnections: 9, maxPerAddress: 9 });
  const [first, second] = [new SessionScene("d").session, new SessionScene("d").session];
  registry.greet(first);
  expect([...registry.greeting()]).toEqual([first]);
  expect(registry.put(first)).toBeUndefined();
  expect([...registry.greeting()]).toEqual([]);
  expect(registry.put(second)).toBe(first);
  expect(registry.remove(first)).toBe(false);
  expect(registry.find("d")).toBe(second);
  expect(registry.remove(second)).toBe(true);
  expect(registry.size).toBe(0);
});

test("Epochs grow over all that was made or heard of, whatever the clock says", () => {
  const epochs = new Epochs();
  expect(epochs.next(1_000)).toBe(1_000);
  expect(epochs.next(1_000)).toBe(1_001);
  epochs.heard(5_000);
  expect(epochs.next(1_002)).toBe(5_001);
  epochs.heard(10);
  expect(epochs.next(9_000.7)).toBe(9_000);
});
