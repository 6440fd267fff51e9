import { expect, test } from "bun:test";
import { thisProgram } from "../../src/platform/runtime.ts";

test("thisProgram() from source is called app and starts again by its runtime", () => {
  const { isCompiled, name, command } = thisProgram();
  expect([isCompiled, name]).toEqual([false, "app"]);
  expect(command[0]).toBe(process.execPath);
  expect(command[1]).toBe(Bun.main);
});
