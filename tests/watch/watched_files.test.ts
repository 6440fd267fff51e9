/** Which files are watched, on a real folder. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { WatchedFiles } from "../../src/watch/watched_files.ts";
import { type Folder, makeFolder } from "../support/folders.ts";

function watched(folder: Folder, ...taskPaths: string[]): WatchedFiles {
  return new WatchedFiles({
    settingsFile: folder.file("coxswain.json"),
    taskPaths: taskPaths.map((path) => folder.file(path)),
  });
}

/** What is there, relative to the folder. */
function there(folder: Folder, files: WatchedFiles): string[] {
  return [...files.look()].filter(([, looks]) => looks !== undefined && looks !== "folder")
    .map(([path]) => relative(folder.path, path)).sort();
}

describe("watched files", () => {
  test("are sources below the folders, what they import beside them, and the settings", async () => {
    await using folder = await makeFolder({
      "coxswain.json": "{}",
      "tasks/a.ts": `import { task } from "coxswain";
        import { b } from "../lib/b";
        import data from "../data/d.json";
        import "./styles.css.js";
        import type { T } from "../lib/types.ts";
        export const later = () => import("../lib/lazy.mjs");`,
      "tasks/deep/c.mts": "",
      "tasks/notes.txt": "",
      "tasks/.hidden.ts": "",
      "tasks/node_modules/p/index.js": "",
      "lib/b.ts": `export * from "./index_of"; export const b = 1;`,
      "lib/index_of/index.ts": `import "../b.ts"; export const i = 1;`,
      "lib/lazy.mjs": "",
      "lib/types.ts": "",
      "lib/unused.ts": "",
      "data/d.json": "{}",
    });
    expect(there(folder, watched(folder, "tasks"))).toEqual([
      ...["coxswain.json", "data/d.json", "lib/b.ts", "lib/index_of/index.ts", "lib/lazy.mjs"],
      ...["tasks/a.ts", "tasks/deep/c.mts"],
    ]);
  });

  test("written as .js may be .ts", async () => {
    await using folder = await makeFolder({
      "a.ts": `import "./b.js"; import "./c.mjs";`,
      "b.ts": "",
      "c.mts": "",
    });
    expect(there(folder, watched(folder, "a.ts"))).toEqual(["a.ts", "b.ts", "c.mts"]);
  });

  test("that do not exist yet are found when they come", async () => {
    await using folder = await makeFolder({ "other/a.ts": `import "./missing"; import "./m.ts";` });
    const files = watched(folder, "tasks", "other/a.ts");
    expect(there(folder, files)).toEqual(["other/a.ts"]);
    writeFileSync(folder.file("other/missing.ts"), "");
    writeFileSync(folder.file("other/m.ts"), "");
    mkdirSync(folder.file("tasks"));
    expect(there(folder, files)).toEqual(["other/a.ts", "other/m.ts", "other/missing.ts"]);
    writeFileSync(folder.file("tasks/t.ts"), "");
    expect(there(folder, files)).toContain("tasks/t.ts");
    rmSync(folder.file("other/m.ts"));
    for (let look = 0; look < 20; look++) files.look();
    expect(files.look().size).toBeLessThan(12);
  });

  test("with a mistake in them keep what they imported before", async () => {
    await using folder = await makeFolder({ "a.ts": `import "./b.ts";`, "b.ts": "" });
    const files = watched(folder, "a.ts");
    expect(there(folder, files)).toEqual(["a.ts", "b.ts"]);
    writeFileSync(folder.file("a.ts"), `import "./b.ts"; const (;`);
    expect(there(folder, files)).toEqual(["a.ts", "b.ts"]);
    writeFileSync(folder.file("a.ts"), "// nothing more");
    expect(there(folder, files)).toEqual(["a.ts"]);
  });

  test("look different after a write, and after another file was renamed over them", async () => {
    await using folder = await makeFolder({ "a.ts": "1" });
    const files = watched(folder, "a.ts");
    const looks = () => files.look().get(folder.file("a.ts"));
    const first = looks();
    expect(looks()).toBe(first);
    writeFileSync(folder.file("a.ts.tmp"), "2");
    renameSync(folder.file("a.ts.tmp"), folder.file("a.ts"));
    const second = looks();
    expect(second).not.toBe(first);
    writeFileSync(folder.file("a.ts"), "33");
    expect(looks()).not.toBe(second);
  });

  test("of folders that lead in a circle are each found once", async () => {
    await using folder = await makeFolder({ "tasks/a.ts": "" });
    symlinkSync(folder.file("tasks"), folder.file("tasks/again"));
    expect(there(folder, watched(folder, "tasks"))).toEqual(["tasks/a.ts"]);
  });
});
