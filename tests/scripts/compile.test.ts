/** What the build decides for the executable: nothing in the working folder changes it by chance. */
import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { VERSION } from "../../src/version.ts";
import { runApp, temporaryFolder } from "../support/app.ts";

const folder = temporaryFolder();
afterAll(folder.remove);
writeFileSync(join(folder.path, "bunfig.toml"), 'preload = ["./not-there.ts"]\n');
writeFileSync(join(folder.path, ".env"), "COX_NOT_A_SETTING=1\nCOX_URL=http://127.0.0.1:2\n");

test("the executable takes no notice of a bunfig.toml", async () => {
  const { code, output } = await runApp(["--version"], { cwd: folder.path });
  expect([code, output]).toEqual([0, `${VERSION}\n`]);
});

test("the executable reads no variables from a file .env", async () => {
  const { code, log } = await runApp(["tasks", "--url", "http://127.0.0.1:1"], {
    cwd: folder.path,
  });
  expect(code).toBe(3);
  expect(log).toContain("http://127.0.0.1:1");
});

test("the executable's help names it as its file is called", async () => {
  const { output } = await runApp(["all", "--help"], { cwd: folder.path });
  expect(output).toContain("Usage: app all [FLAGS]");
});
