import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { flagOf, GROUPS, variableOf } from "../../src/config/setting.ts";
import { SETTING_KEYS, settingOf } from "../../src/config/settings.ts";
import {
  beatsOrOff,
  duration,
  exchangeName,
  formatBytes,
  port,
  queueName,
  readSwitch,
  size,
  taskHeader,
  urlOf,
  wholeNumber,
  wordOr,
} from "../../src/config/value.ts";

test("beatsOrOff reads 0 and durations from a second, exchangeName no reserved names", () => {
  const read = (text: string) => beatsOrOff.read(text);
  expect(["0", "0s", "1", "5s", "2m", "1.5"].map(read)).toEqual([
    ...[0, 0, 1_000, 5_000, 120_000, 1_500],
  ]);
  expect(["", "-1", "0.5", "999ms", "soon"].map(read)).toEqual(Array(5).fill(undefined));
  expect(["Heartbeat", " a b ", "coxy"].map((name) => exchangeName.read(name))).toEqual([
    ...["Heartbeat", "a b", "coxy"],
  ]);
  expect(["", "amq.fanout", "cox.nodes", "x".repeat(256)].map((name) => exchangeName.read(name)))
    .toEqual(Array(4).fill(undefined));
});

describe("wholeNumber()", () => {
  test("reads whole numbers within its limits and nothing else", () => {
    const reader = wholeNumber({ min: 1, max: 10 });
    expect(["1", " 10 "].map(reader.read)).toEqual([1, 10]);
    for (const text of ["0", "11", "-1", "1.5", "1e1", "0x1", "", " ", "ten"]) {
      expect(reader.read(text)).toBeUndefined();
    }
  });

  test("0 is a port to listen on, and none to connect to", () => {
    expect(port({ min: 0 }).read("0")).toBe(0);
    expect(port({ min: 1 }).read("0")).toBeUndefined();
  });
});

describe("duration()", () => {
  test("reads a unit, or seconds without one", () => {
    const { read } = duration();
    expect(["500ms", "3s", "2m", "7", "0"].map(read)).toEqual([500, 3_000, 120_000, 7_000, 0]);
    for (const text of ["", "soon", "-1s", "99999h"]) expect(read(text)).toBeUndefined();
  });

  test("refuses nothing where something is needed", () => {
    expect(duration({ minMs: 1 }).read("0s")).toBeUndefined();
  });
});

describe("size()", () => {
  const { read } = size({ minBytes: 1, maxBytes: 2 ** 30 });

  test("reads binary and decimal units", () => {
    expect(["64", "1KiB", "1.5 mib", "2MB", "3b", "512M", "2k", "1g"].map(read))
      .toEqual([64, 1_024, 1_572_864, 2_000_000, 3, 2 ** 29, 2_048, 2 ** 30]);
    for (const text of ["", "0", "2GiB", "1 apple", "MiB"]) expect(read(text)).toBeUndefined();
  });

  test("reads what formatBytes() writes", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1, max: 2 ** 30 }),
      (bytes) => expect(read(formatBytes(bytes))).toBe(bytes),
    ));
  });
});

test("urlOf() wants one of its schemes and a host", () => {
  const { read } = urlOf(["amqp:", "amqps:"], "amqp://host");
  expect(read(" amqps://u:p@h:1/v ")).toBe("amqps://u:p@h:1/v");
  for (const text of ["http://h", "amqp:", "amqp://", "h:5672", ""]) {
    expect(read(text)).toBeUndefined();
  }
});

test("taskHeader reads what a front hands on to a task, as one header", () => {
  expect(taskHeader.read("X-A:  b: c")).toEqual(["x-a", "b: c"]);
  expect(taskHeader.read("traceparent: 00-1")).toEqual(["traceparent", "00-1"]);
  for (const text of ["x-a", "x-: v", ": v", "x-a b: c", "x-a: b\r\nc: d", "cookie: c", ""]) {
    expect(taskHeader.read(text)).toBeUndefined();
  }
});

test("queueName wants an AMQP short string without commas", () => {
  expect(queueName.read(" two words ")).toBe("two words");
  expect(queueName.read("ü".repeat(127))).toBe("ü".repeat(127));
  for (const text of ["", "a,b", "a\nb", "ü".repeat(128)]) {
    expect(queueName.read(text)).toBeUndefined();
  }
});

test("wordOr() reads its word before the other", () => {
  const { read, metavar } = wordOr("auto", wholeNumber({ min: 0 }));
  expect(["AUTO", "3", "x"].map(read)).toEqual(["auto", 3, undefined]);
  expect(metavar).toBe("N|auto");
});

test("readSwitch() knows the usual words", () => {
  expect(["true", "ON", "1", "no", "0", "maybe", ""].map(readSwitch))
    .toEqual([true, true, true, false, false, undefined, undefined]);
});

describe("the table of settings", () => {
  test("a key becomes its flag and its variable", () => {
    expect(flagOf("maxTasksPerIsolate")).toBe("--max-tasks-per-isolate");
    expect(variableOf("amqpUrl")).toBe("COX_AMQP_URL");
  });

  test("no two settings share a flag or a variable, and each has its place in the help", () => {
    for (const nameOf of [flagOf, variableOf]) {
      expect(new Set(SETTING_KEYS.map(nameOf)).size).toBe(SETTING_KEYS.length);
    }
    for (const key of SETTING_KEYS) {
      const setting = settingOf(key);
      expect(GROUPS).toContain(setting.group);
      expect(setting.modes.length).toBeGreaterThan(0);
      expect(setting.help).not.toMatch(/[.\n]$/);
    }
  });
});
