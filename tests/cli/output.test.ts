import { expect, test } from "bun:test";
import { join } from "node:path";

const MODULE = join(import.meta.dir, "../../src/cli/output.ts");

async function written(setUp: string): Promise<string> {
  const script = `import { writeWhole } from ${JSON.stringify(MODULE)};
    ${setUp}
    writeWhole(1, "x".repeat(3_000_000) + "end");
    process.exit(0);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  return await new Response(child.stdout).text();
}

test("writeWhole() has written all of it when the process exits next", async () => {
  expect((await written("")).slice(-6)).toBe("xxxend");
});

test("writeWhole() waits for a slow reader where the descriptor does not block", async () => {
  const text = await written(`process.stdout.write("");`);
  expect(text.length).toBe(3_000_003);
});

test("writeWhole() ends quietly when its reader has gone away", async () => {
  const script = `import { writeWhole } from ${JSON.stringify(MODULE)};
    writeWhole(1, "line\\n".repeat(1_000_000));`;
  const child = Bun.spawn(["sh", "-c", `"$0" -e "$1" | head -1`, process.execPath, script], {
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await new Response(child.stdout).text()).toBe("line\n");
  expect(await new Response(child.stderr).text()).toBe("");
});
