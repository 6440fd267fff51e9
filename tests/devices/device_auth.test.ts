import { expect, test } from "bun:test";
import { DeviceAuth, readDeviceTokens } from "../../src/devices/device_auth.ts";

function auth(text: string): DeviceAuth {
  const read = readDeviceTokens(text);
  if (read.kind === "refused") throw new Error(read.problems.join("\n"));
  return new DeviceAuth(read.tokens);
}

const judge = auth("kiln-7 old\nkiln-7 new\n  pump  p4ss \r\n# a note\n* shared\n");

test.each(["kiln-7 old", "kiln-7 new", "kiln-7\tnew", " kiln-7  new ", "pump p4ss"])(
  "DeviceAuth knows %j",
  (line) => {
    expect(judge.judge(line)).toEqual({ kind: "known", id: line.trim().split(/\s+/)[0] ?? "" });
  },
);

test("a shared token is for ids that have none of their own", () => {
  expect(judge.judge("stranger shared")).toEqual({ kind: "known", id: "stranger" });
  expect(judge.judge("kiln-7 shared").kind).toBe("refused");
});

test.each([
  undefined,
  "",
  "kiln-7",
  "kiln-7 wrong",
  "kiln-7 old new",
  "* shared",
  `${"x".repeat(81)} shared`,
  "k\u00e4ln shared",
  "stranger",
])("DeviceAuth refuses %j, and says why without the token", (line) => {
  const greeting = judge.judge(line);
  expect(greeting.kind).toBe("refused");
  if (greeting.kind === "refused") expect(greeting.why).not.toContain("shared");
});

test("without a shared token strangers are refused", () => {
  expect(auth("kiln-7 x").judge("stranger x").kind).toBe("refused");
});
