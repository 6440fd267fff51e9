import { expect, test } from "bun:test";
import { maxOpenFiles } from "../../src/platform/open_files.ts";

test("maxOpenFiles() tells the limit of this process", () => {
  const { stdout } = Bun.spawnSync(["prlimit", "--nofile", "--output=SOFT", "--noheadings"]);
  expect(maxOpenFiles()).toBe(Number(stdout.toString()));
});
