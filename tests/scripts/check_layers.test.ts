import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkLayers } from "../../scripts/check_layers.ts";

/** Violations of planted sources, as "file:line: message". */
function violations(files: Readonly<Record<string, string>>): string[] {
  return checkLayers(new Map(Object.entries(files)))
    .map(({ file, line, message }) => `${file}:${line}: ${message}`);
}

describe("checkLayers() on directions", () => {
  test("lets through what the table allows", () => {
    expect(violations({
      "broker/broker.ts": `import { systemClock } from "../lifecycle/clock.ts";\n`,
      "broker/amqp/broker.ts": `import type { Broker } from "../broker.ts";\n`,
      "cli/run/adapters.ts": `const { x } = await import("../../broker/amqp/broker.ts");\n`,
      "mod.ts": `export { task } from "./tasks/definition.ts";\n`,
      "calls/a.ts": `import "./b.ts";\nimport { getLogger } from "@logtape/logtape";\n`,
    })).toEqual([]);
  });

  test.each([
    [
      "a port that knows its adapter",
      "broker/a.ts",
      "./amqp/b.ts",
      "broker must not import broker/amqp",
    ],
    ["an adapter that knows the other", "broker/amqp/a.ts", "../embedded/b.ts", "broker/embedded"],
    ["http that knows the broker", "http/routes/a.ts", "../../broker/broker.ts", "import broker"],
    ["the floor that knows a part", "lifecycle/a.ts", "../calls/call.ts", "import calls"],
    ["tasks that know operations", "tasks/a.ts", "../observe/logging.ts", "import observe"],
    ["a command that names an adapter", "cli/a.ts", "../broker/amqp/b.ts", "import broker/amqp"],
    ["a part of the root that names one", "cli/run/a.ts", "../../broker/amqp/b.ts", "broker/amqp"],
    ["a part that reaches for the root", "worker/a.ts", "../cli/run.ts", "import cli/run.ts"],
    ["a part out of src", "calls/a.ts", "../../main.ts", "not of src"],
  ])("finds %s", (_what, file, specifier, message) => {
    const found = violations({ [file]: `// one\n// two\nimport { b } from "${specifier}";\n` });
    expect(found).toHaveLength(1);
    expect(found[0]).toStartWith(`${file}:3: `);
    expect(found[0]).toContain(message);
  });

  test.each([
    ["types", `import type { B } from "../broker/broker.ts";`],
    ["a list over several lines", `import {\n  a,\n  b,\n} from "../broker/broker.ts";`],
    ["a default and a namespace", `import a, * as b from '../broker/broker.ts';`],
    ["effects alone", `import "../broker/broker.ts";`],
    ["an export", `export * from "../broker/broker.ts";`],
    ["a dynamic import", `const b = await import("../broker/broker.ts");`],
    ["a type's import", `let b: import("../broker/broker.ts").Broker;`],
  ])("counts an import of %s", (_what, source) => {
    expect(violations({ "http/a.ts": `${source}\n` })).toHaveLength(1);
  });

  test("takes no notice of comments and texts", () => {
    expect(violations({
      "http/a.ts": [
        `// import { b } from "../broker/broker.ts";`,
        `/* import "../broker/broker.ts"; Bun.serve() */`,
        "const url = 'http://h'; // Bun.sleep",
        'const help = "use Bun. It is fast";',
      ].join("\n"),
    })).toEqual([]);
  });

  test("wants every folder in its table", () => {
    expect(violations({ "utils/a.ts": "" })).toEqual([
      "utils/a.ts:1: belongs to no part in the table of layers",
    ]);
  });
});

describe("checkLayers() on cycles", () => {
  test("tells a cycle once, at the import that closes it", () => {
    const found = violations({
      "calls/a.ts": `import "./b.ts";\n`,
      "calls/b.ts": `\nimport "./c.ts";\n`,
      "calls/c.ts": `\n\nexport { a } from "./a.ts";\n`,
      "calls/d.ts": `import "./a.ts";\n`,
    });
    expect(found).toEqual([
      "calls/c.ts:3: import cycle: calls/a.ts → calls/b.ts → calls/c.ts → calls/a.ts",
    ]);
  });

  test("a file that imports itself is one", () => {
    expect(violations({ "calls/a.ts": `import "./a.ts";\n` })).toHaveLength(1);
  });

  test("types alone make none, for they are gone at run time", () => {
    expect(violations({
      "calls/a.ts": `import type { B } from "./b.ts";\n`,
      "calls/b.ts": `import { a } from "./a.ts";\n`,
    })).toEqual([]);
  });
});

describe("checkLayers() on the runtime's own API", () => {
  test.each([
    "Bun.serve({});",
    `import { file } from "bun";`,
    `import "bun:sqlite";`,
    "globalThis.Bun",
  ])(
    "keeps %s in platform",
    (source) => {
      expect(violations({ "platform/a.ts": `${source}\n` })).toEqual([]);
      expect(violations({ "worker/a.ts": `\n${source}\n` })).toEqual([
        "worker/a.ts:2: the runtime's own API belongs into platform",
      ]);
    },
  );
});

describe("scripts/check_layers.ts", () => {
  const run = (root: string) => {
    const script = join(import.meta.dir, "../../scripts/check_layers.ts");
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, script, root]);
    return { exitCode, stderr: stderr.toString() };
  };
  const plant = (root: string, files: Readonly<Record<string, string>>) => {
    for (const [file, source] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), source);
    }
  };

  test("ends with 1 and names file and line, or with 0 and says nothing", () => {
    const root = mkdtempSync(join(tmpdir(), "coxswain-layers-"));
    try {
      plant(root, { "src/calls/a.ts": "export {};\n" });
      expect(run(root)).toEqual({ exitCode: 0, stderr: "" });
      plant(root, { "src/http/deep/a.ts": `\nimport "../../broker/broker.ts";\n` });
      expect(run(root)).toEqual({
        exitCode: 1,
        stderr: "src/http/deep/a.ts:2: http must not import broker (broker/broker.ts)\n",
      });
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
