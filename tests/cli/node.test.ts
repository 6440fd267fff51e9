/** A node that is told to stop before it is ready. */
import { expect, test } from "bun:test";
import { Node } from "../../src/cli/node.ts";
import { EXIT } from "../../src/cli/exit_code.ts";

test("a signal during the start is heeded when the start has ended", async () => {
  const node = new Node({ id: "n", graceMs: 1_000 });
  node.heedSignals();
  process.kill(process.pid, "SIGTERM");
  const stopped: string[] = [];
  await node.start({
    start: () => Promise.resolve(),
    stop: () => {
      stopped.push("part");
      return Promise.resolve();
    },
  });
  expect(await node.runUntilStopped()).toBe(EXIT.well);
  expect(stopped).toEqual(["part"]);
}, 20_000);
