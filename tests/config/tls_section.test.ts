import { afterAll, expect, test } from "bun:test";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Mode } from "../../src/config/config.ts";
import { validityProblem } from "../../src/platform/certificate.ts";
import { Authority } from "../support/certificates.ts";

const authority = new Authority("tests");
const { cert, key } = authority.issue("front", { names: "DNS:localhost" });
const other = authority.issue("other", { names: "DNS:localhost" });
afterAll(() => authority[Symbol.dispose]());

const files: Readonly<Record<string, string>> = {
  "/here/front.crt": cert,
  "/here/front.key": key,
  "/here/other.key": other.key,
  "/here/locked.key":
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
  "/here/broken.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
  "/here/text": "not one",
};

function load(mode: Mode, flags: Readonly<Record<string, string[]>>) {
  return loadConfig(mode, flags, {
    env: {},
    cwd: "/here",
    processors: 2,
    hostname: "desk",
    randomEnd: "1",
    readText(path) {
      const text = files[path];
      if (text !== undefined) return text;
      throw Object.assign(new Error(`no such file: ${path}`), { code: "ENOENT" });
    },
  });
}

function loaded(mode: Mode, flags: Readonly<Record<string, string[]>>): unknown {
  const result = load(mode, flags);
  if (result.kind === "refused") throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.config;
}

function problems(mode: Mode, flags: Readonly<Record<string, string[]>>): string[] {
  const result = load(mode, flags);
  return result.kind === "refused" ? result.problems.map(formatProblem) : [];
}

test("a front and a health port are served with the certificate that is named", () => {
  const flags = { tlsCert: ["front.crt"], tlsKey: ["front.key"] };
  expect(loaded("all", flags)).toMatchObject({ http: { tls: { cert, key } } });
  expect(loaded("work", { ...flags, healthPort: ["0"] })).toMatchObject({
    health: { tls: { cert, key } },
  });
  expect(Reflect.get(Object(loaded("all", {})), "http")).not.toHaveProperty("tls");
});

test.each([
  [{ tlsCert: ["front.crt"] }, "--tls-cert and --tls-key need each other"],
  [{ tlsKey: ["front.key"] }, "--tls-cert and --tls-key need each other"],
  [{ tlsCert: ["front.crt"], tlsKey: ["other.key"] }, "the key is not the one of the certificate"],
  [{ tlsCert: ["front.crt"], tlsKey: ["locked.key"] }, "the key is encrypted"],
  [{ tlsCert: ["front.crt"], tlsKey: ["broken.pem"] }, "the second one holds no key"],
  [{ tlsCert: ["broken.pem"], tlsKey: ["front.key"] }, "the first one holds no certificate"],
  [{ tlsCert: ["front.key"], tlsKey: ["front.key"] }, "the first one holds no certificate"],
  [{ tlsCert: ["text"], tlsKey: ["front.key"] }, "expected a file in PEM form"],
  [{ tlsCert: ["none"], tlsKey: ["front.key"] }, "there is none"],
])("%j is one clear problem", (flags, message) => {
  const found = problems("all", flags);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(message);
});

test("a command trusts the authority that is named, for https alone", () => {
  const caFile = ["front.crt"];
  expect(loaded("call", { url: ["https://localhost:1"], caFile })).toMatchObject({
    target: { kind: "front", ca: cert },
  });
  expect(problems("call", { url: ["http://localhost:1"], caFile })).toEqual([
    "--ca-file needs a --url of https://",
  ]);
  expect(problems("call", { url: ["https://localhost:1"], caFile: ["text"] })[0]).toContain("PEM");
});

test("a certificate tells when it is not valid yet or no more", () => {
  const dayMs = 86_400_000;
  expect(validityProblem(cert, Date.now())).toBeUndefined();
  expect(validityProblem(cert, Date.now() + 3 * dayMs)).toContain("has expired on");
  expect(validityProblem(cert, Date.now() - dayMs)).toContain("is not valid before");
});
