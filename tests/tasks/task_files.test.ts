/** Finding task files, and what a pool says of those that it cannot load (in a real isolate). */
import { describe, expect, test } from "bun:test";
import { symlink } from "node:fs/promises";
import { PoolStartError } from "../../src/isolates/pool.ts";
import { findTaskFiles } from "../../src/tasks/task_files.ts";
import { makeFolder } from "../support/folders.ts";
import { makePool, request, withPool } from "../support/pools.ts";

const TASK = (name: string) =>
  `import { task } from "coxswain";\nexport const t = task(${JSON.stringify(name)}, () => 1);\n`;

/** Why a pool with these task paths does not start. */
async function startFailure(...taskPaths: string[]): Promise<PoolStartError> {
  const pool = makePool({ taskPaths });
  try {
    await pool.start();
  } catch (error) {
    if (error instanceof PoolStartError) return error;
    throw error;
  } finally {
    await pool.stop();
  }
  throw new Error("The pool started");
}

describe("findTaskFiles()", () => {
  test("takes a folder's task files, nested ones too, and leaves out the rest", async () => {
    await using folder = await makeFolder({
      "b.ts": "",
      "a.js": "",
      "deep/er/c.mts": "",
      "d.mjs": "",
      "a.test.ts": "",
      "a.spec.js": "",
      "a_test.ts": "",
      "types.d.ts": "",
      "types.d.mts": "",
      "readme.md": "",
      ".hidden.ts": "",
      ".git/x.ts": "",
      "node_modules/lib/index.js": "",
    });
    expect(await findTaskFiles([folder.path])).toEqual(
      ["a.js", "b.ts", "d.mjs", "deep/er/c.mts"].map((name) => folder.file(name)).toSorted(),
    );
  });

  test("takes a file whatever its name, and each once", async () => {
    await using folder = await makeFolder({ "a.test.ts": "", "b.ts": "" });
    const [odd, plain] = [folder.file("a.test.ts"), folder.file("b.ts")];
    expect(await findTaskFiles([odd, folder.path, plain])).toEqual([odd, plain]);
  });

  test("follows symbolic links, in circles too, and passes by those to nothing", async () => {
    await using folder = await makeFolder({ "real/a.ts": "" });
    await symlink(folder.path, folder.file("real/circle"));
    await symlink(folder.file("real/a.ts"), folder.file("b.ts"));
    await symlink("nothing", folder.file(".#lock.ts"));
    await symlink("nothing", folder.file("gone.ts"));
    expect(await findTaskFiles([folder.path])).toEqual([folder.file("real/a.ts")]);
  });

  test("a path that does not exist is told", async () => {
    await expect(findTaskFiles(["/no/such/place"])).rejects.toThrow(
      "Cannot load tasks from /no/such/place: there is no such file or folder",
    );
  });

  test("a folder without a task file is told", async () => {
    await using folder = await makeFolder({ "readme.md": "" });
    await expect(findTaskFiles([folder.path])).rejects.toThrow(
      `Cannot load tasks from ${folder.path}: the folder has no task file`,
    );
  });
});

describe("a pool's start", () => {
  test("loads files with odd names and their own imports", async () => {
    await using folder = await makeFolder({
      "a b#c%20é.ts": `import { helper } from "./lib/helper.js";
        import { task } from "coxswain";
        export const t = task("odd", () => helper(1));`,
      "lib/helper.js": "export const helper = (x) => x + 1;",
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      expect(await pool.run(request("odd", []))).toMatchObject({ resultJson: "2" });
    });
  });

  test("a file that another one imports keeps its own tasks", async () => {
    await using folder = await makeFolder({
      "a.ts": `import "./b.ts";\n${TASK("from.a")}`,
      "b.ts": TASK("from.b"),
    });
    const pool = makePool({ taskPaths: [folder.path] });
    const files = (await pool.start()).tasks.map(({ name, file }) => [name, file]);
    await pool.stop();
    expect(files).toEqual([["from.b", folder.file("b.ts")], ["from.a", folder.file("a.ts")]]);
  });

  test("two tasks of one name: names both files", async () => {
    await using folder = await makeFolder({ "a.ts": TASK("twin"), "b.ts": TASK("twin") });
    const { message, file } = await startFailure(folder.path);
    expect(message).toBe(
      `Cannot define task "twin" in ${folder.file("b.ts")}: ` +
        `it is already defined in ${folder.file("a.ts")}`,
    );
    expect(file).toBe(folder.file("b.ts"));
  });

  test.each<[string, string, RegExp]>([
    ["a syntax error", "export const x = = 1;", /bad\.ts:1:\d+: Unexpected =/],
    [
      "an import that is missing",
      'import "./nothing.ts";',
      /bad\.ts: Cannot find module '\.\/nothing\.ts'/,
    ],
    [
      "a package that is missing",
      'import "no-such-package-here";',
      /bad\.ts: Cannot find package 'no-such-package-here'/,
    ],
    [
      "an export that is missing",
      'import { tusk } from "coxswain"; tusk();',
      /bad\.ts: SyntaxError: Export named 'tusk' not found/,
    ],
    ["an error at its top", '\nthrow new RangeError("boo");', /bad\.ts:2:\d+: RangeError: boo/],
    ["a value thrown at its top", 'throw "boo";', /bad\.ts: boo/],
    ["a rejection at its top", 'await Promise.reject(new Error("boo"));', /bad\.ts.*: Error: boo/],
    [
      "a bad option",
      'import { task } from "coxswain"; task("t", { timeout: "soon" }, () => 1);',
      /^Cannot define task "t" in .*bad\.ts: timeout: Cannot read duration "soon"/,
    ],
    ["process.exit at its top", "process.exit(7);", /it exited with code 7/],
    [
      "an error in a timer while it loads",
      'setTimeout(() => { throw new Error("boo"); }); await new Promise(() => {});',
      /boo/,
    ],
    [
      "a rejection that nobody handles while it loads",
      'Promise.reject(new Error("boo")); await new Promise((r) => setTimeout(r, 50));',
      /boo/,
    ],
  ])("%s: names the file and the reason", async (_what, source, expected) => {
    await using folder = await makeFolder({ "bad.ts": source });
    const { message, file } = await startFailure(folder.path);
    expect(message).toMatch(expected);
    if (message.startsWith("Cannot")) expect(file).toBe(folder.file("bad.ts"));
  });

  test("a syntax error in an imported file is told with that file's place", async () => {
    await using folder = await makeFolder({
      "good.ts": `import "./lib/broken.js";\n${TASK("t")}`,
      "lib/broken.js": "\n\nconst = 1;",
    });
    const { message } = await startFailure(folder.file("good.ts"));
    expect(message).toContain(`${folder.file("lib/broken.js")}:3:`);
  });

  test("a file that never ends loading is given up", async () => {
    for (const source of ["await new Promise(() => {});", "while (true) {}"]) {
      await using folder = await makeFolder({ "slow.ts": source });
      const pool = makePool({ taskPaths: [folder.path], startTimeoutMs: 200 });
      await expect(pool.start()).rejects.toThrow("it did not get ready within 200ms");
      await pool.stop();
    }
  });

  test("a set-up that fails is told with its file", async () => {
    await using folder = await makeFolder({
      "bad.ts": `import { setup } from "coxswain";
        setup(async () => { throw new TypeError("no database"); });`,
    });
    const { message, file } = await startFailure(folder.path);
    expect(message).toBe(
      `The set-up in ${folder.file("bad.ts")} failed: TypeError: no database`,
    );
    expect(file).toBe(folder.file("bad.ts"));
  });

  test("missing paths and empty folders are told", async () => {
    expect((await startFailure("/no/such/place")).message).toContain("/no/such/place");
    await using folder = await makeFolder();
    expect((await startFailure(folder.path)).message).toContain("has no task file");
  });

  test("a file without a task is fine", async () => {
    await using folder = await makeFolder({
      "a.ts": TASK("t"),
      "helper.ts": "export const x = 1;",
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      expect(await pool.run(request("t", []))).toMatchObject({ kind: "returned" });
    });
  });

  test("a user's task takes the place of a demo task of that name", async () => {
    await using folder = await makeFolder({ "a.ts": TASK("echo") });
    await withPool({ taskPaths: [folder.path], demo: true }, async (pool) => {
      expect(await pool.run(request("echo", ["x"]))).toMatchObject({ resultJson: "1" });
      expect(await pool.run(request("math.add", [1, 2]))).toMatchObject({ resultJson: "3" });
    });
  });
});
