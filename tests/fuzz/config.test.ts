/**
 * Settings of any kind, from flags, variables and the file: a configuration, or problems of one line
 * each that name the place. Nothing throws.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Mode } from "../../src/config/config.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { variableOf } from "../../src/config/setting.ts";
import { SETTING_KEYS } from "../../src/config/settings.ts";
import { anyJson, anyText, nested } from "./arbitraries.ts";
import { holds, LIMIT_MS } from "./runs.ts";

const modes: fc.Arbitrary<Mode> = fc.constantFrom(
  ...["all", "serve", "work", "call", "tasks", "nodes", "queues"] as const,
  ...["publish", "subscribe", "job", "dead-letters", "schedules", "bench", "devices"] as const,
);
const key = fc.constantFrom(...SETTING_KEYS);
const text = fc.oneof(
  anyText,
  fc.constantFrom("0", "-1", "1e9", "99999999999999999999", "1d", "NaN", "true", "no", "[::1]"),
  fc.constantFrom(
    "amqp://u:p@h",
    "amqps://h",
    "https://h",
    "postgres://u@h/d",
    "/here/file",
    "a,b",
  ),
  fc.constantFrom('{"a":"topic"}', '{"a":{"type":"x"}}', '[{"task":"t"}]', "{", "null"),
);

function load(
  mode: Mode,
  flags: Readonly<Record<string, string[]>>,
  env: Record<string, string>,
  file?: string,
) {
  return loadConfig(mode, flags, {
    env,
    cwd: "/here",
    processors: 2,
    hostname: "desk",
    randomEnd: "1",
    readText(path) {
      if (path.endsWith("coxswain.json") && file !== undefined) return file;
      if (path === "/here/file") return "content of a file";
      throw Object.assign(new Error(`no such file: ${path}`), { code: "ENOENT" });
    },
  });
}

function expectWell(result: ReturnType<typeof load>): void {
  if (result.kind !== "refused") return;
  expect(result.problems.length).toBeGreaterThan(0);
  for (const problem of result.problems) {
    const line = formatProblem(problem);
    expect(line.length).toBeGreaterThan(0);
    expect(line).not.toMatch(/[\n\r\0]|\bat .*:\d+:\d+|undefined|\[object/);
  }
}

test("flags and variables of any kind", () => {
  const flags = fc.dictionary(key, fc.array(text, { minLength: 1, maxLength: 3 }), { maxKeys: 6 });
  const env = fc.dictionary(
    fc.oneof(key.map(variableOf), fc.constantFrom("COX_", "COX_NONE", "COX___PROTO__", "PATH")),
    text,
    { maxKeys: 4 },
  );
  holds(fc.tuple(modes, flags, env), ([mode, given, variables]) => {
    expectWell(load(mode, given, { ...variables }));
  }, 1_500);
}, LIMIT_MS);

test("a file of any kind", () => {
  const member: fc.Arbitrary<[string, string]> = fc.tuple(
    fc.oneof(key, fc.constantFrom("__proto__", "constructor", "toString", "", "a.b")),
    fc.oneof(anyJson, text.map((given) => JSON.stringify(given))),
  );
  const file: fc.Arbitrary<string> = fc.oneof(
    fc.array(member, { maxLength: 6 }).map((members) =>
      `{${members.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`
    ),
    anyJson,
    anyText,
  );
  holds<[Mode, string]>(
    fc.tuple(modes, file),
    ([mode, content]) => expectWell(load(mode, {}, {}, content)),
    1_500,
    [
      ["all", `{"port":${nested(100_000)}}`],
      ["all", `{"exchanges":${nested(100_000)}}`],
    ],
  );
}, LIMIT_MS);
