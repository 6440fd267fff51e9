/** `app devices`: its words, and what it prints. */
import { describe, expect, test } from "bun:test";
import { brokerDevices } from "../../src/cli/broker_devices.ts";
import type { DevicesCommandConfig } from "../../src/config/config.ts";
import {
  type DevicesAction,
  type DeviceSource,
  readDevicesWords,
  runDevices,
} from "../../src/cli/devices_command.ts";
import type { CommandEnding, LiveDevice } from "../../src/devices/devices.ts";
import { FrontClient } from "../../src/cli/front_client.ts";
import { FrontDevices } from "../../src/cli/front_devices.ts";
import { StartupError } from "../../src/cli/startup_error.ts";

const URL_TEXT = "http://127.0.0.1:1";

function config(further: Partial<DevicesCommandConfig> = {}): DevicesCommandConfig {
  return {
    mode: "devices",
    node: { id: "test", graceMs: 0 },
    target: { kind: "front", url: URL_TEXT },
    filter: { state: "online", limit: 50 },
    json: false,
    log: { level: "warning", format: "auto", secrets: [] },
    ...further,
  };
}

const KILN = {
  id: "kiln-7",
  node: "a",
  address: "10.0.0.7:5000",
  connectedAt: "2026-01-01T00:00:00.000Z",
  lastSeenAt: "2026-01-01T00:00:09.000Z",
};

class Source implements DeviceSource {
  readonly sent: unknown[] = [];
  constructor(
    readonly answers: { readonly list?: object; readonly next?: string; readonly one?: object },
  ) {}
  devices() {
    const { list = [], next } = this.answers;
    return Promise.resolve({
      text: JSON.stringify(list),
      ...(next === undefined ? {} : { next }),
    });
  }
  device() {
    return Promise.resolve(JSON.stringify(this.answers.one));
  }
  sendToDevice(...what: unknown[]) {
    this.sent.push(what);
    return Promise.resolve(JSON.stringify(this.answers.one));
  }
}

async function run(
  action: DevicesAction,
  source: DeviceSource,
  settings: Partial<DevicesCommandConfig> = {},
): Promise<{ readonly code: number; readonly printed: string; readonly told: string }> {
  let [printed, told] = ["", ""];
  const code = await runDevices(config(settings), action, source, {
    isTerminal: false,
    print: (text) => printed += text,
    printError: (text) => told += text,
  });
  return { code, printed, told };
}

describe("readDevicesWords()", () => {
  test("reads what is to be done", () => {
    expect(readDevicesWords([])).toEqual({ action: { kind: "list" } });
    expect(readDevicesWords(["list"])).toEqual({ action: { kind: "list" } });
    expect(readDevicesWords(["show", "kiln"])).toEqual({ action: { kind: "show", id: "kiln" } });
    expect(readDevicesWords(["send", "kiln", "set 1"]))
      .toEqual({ action: { kind: "send", id: "kiln", line: "set 1" } });
  });

  test("says what is wrong", () => {
    const cases = [
      [["show"], "needs its id"],
      [["send", "kiln"], "needs an id and a line"],
      [["send", "kiln", "set", "1"], "quote what has spaces"],
      [["list", "x"], "too much"],
      [["stop"], "there are list, show, send"],
    ] as const;
    for (const [words, mistake] of cases) {
      expect(readDevicesWords(words)).toEqual({ mistake: expect.stringContaining(mistake) });
    }
  });
});

describe("runDevices()", () => {
  test("lists devices as a table, or exactly as they came", async () => {
    const list = { kind: "list" } as const;
    const source = new Source({ list: [KILN], next: "abc" });
    const { code, printed, told } = await run(list, source);
    expect(code).toBe(0);
    expect(printed.split("\n")[0]).toMatch(/^DEVICE +NODE +ADDRESS +CONNECTED +LAST SEEN$/);
    expect(printed).toMatch(/^kiln-7 +a +10\.0\.0\.7:5000 +2026-01-01/m);
    expect(told).toBe("There are more: --cursor abc\n");
    expect((await run(list, source, { json: true })).printed).toBe(`[${JSON.stringify(KILN)}]\n`);
    expect((await run(list, new Source({}))).printed).toBe("No device is connected.\n");
  });

  test("lists those that went with the reason", async () => {
    const gone = { ...KILN, state: "offline", changedAt: "2026-01-02", reason: "node-gone" };
    const { printed } = await run({ kind: "list" }, new Source({ list: [gone] }), {
      filter: { state: "offline", limit: 50 },
    });
    expect(printed).toMatch(/STATE +SINCE +REASON\n.* offline +2026-01-02 +node-gone\n$/);
  });

  test("shows one with its history, without what a terminal would obey", async () => {
    const one = {
      ...KILN,
      id: "kiln\u001b[2J",
      state: "online",
      history: [{ state: "online", at: "2026-01-01", node: "a", address: "x" }],
    };
    const { printed } = await run({ kind: "show", id: "kiln" }, new Source({ one }));
    expect(printed).toMatch(/^id: +kiln\?\[2J\nstate: +online\n/);
    expect(printed).toMatch(/\n\nSTATE +AT +NODE +ADDRESS +REASON\nonline +2026-01-01 +a +x\n$/);
  });

  test("sends a line, and prints the reply alone", async () => {
    const send = { kind: "send", id: "kiln-7", line: "set 1" } as const;
    const source = new Source({ one: { node: "a", reply: "ok" } });
    expect(await run(send, source, { replyMs: 2_000 })).toMatchObject({ code: 0, printed: "ok\n" });
    expect(source.sent).toEqual([["kiln-7", "set 1", 2_000]]);
    expect((await run(send, new Source({ one: { node: "a" } }))).printed)
      .toBe("Written by node a.\n");
    const bytes = new Source({ one: { node: "a", reply: { base64: "/w==" } } });
    expect((await run(send, bytes)).printed).toBe("Bytes that are no text, in base64: /w==\n");
  });
});

describe("FrontDevices", () => {
  function source(status: number, body: unknown, link?: string): FrontDevices {
    return new FrontDevices({
      request: () =>
        Promise.resolve(
          new Response(typeof body === "string" ? body : JSON.stringify(body), {
            status,
            headers: link === undefined ? {} : { link },
          }),
        ),
    }, URL_TEXT);
  }

  test("finds where the next page begins", async () => {
    const link = '</devices?limit=1&cursor=WyJhIl0%3D>; rel="next"';
    expect(await source(200, [], link).devices({ state: "all", limit: 1 }))
      .toEqual({ text: "[]", next: "WyJhIl0=" });
  });

  test("tells refusals with exit codes that scripts rely on", async () => {
    const cases = [
      [404, "unknown-device", 2],
      [409, "device-busy", 1],
      [502, "device-lost", 1],
      [504, "no-reply", 4],
      [503, "broker-away", 3],
    ] as const;
    for (const [status, name, exitCode] of cases) {
      const problem = { type: `/problems/${name}`, detail: "so it is" };
      const failure = source(status, problem).sendToDevice("kiln", "x", undefined);
      const error: unknown = await failure.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(StartupError);
      expect(error).toMatchObject({ exitCode, message: expect.stringContaining("so it is") });
    }
    const error: unknown = await source(502, "<html>").sendToDevice("kiln", "x", 1)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ exitCode: 3 });
  });

  test("is what a front's client gives", () => {
    expect(new FrontDevices(new FrontClient({ url: URL_TEXT }), URL_TEXT)).toBeDefined();
  });
});

describe("brokerDevices()", () => {
  const AT = new Date("2026-01-01T00:00:00Z");
  const live = (id: string): LiveDevice => ({
    id,
    address: "10.0.0.7:5000",
    node: "a",
    connectedAt: AT,
    lastSeenAt: AT,
    epoch: 1,
  });

  function source(ending: CommandEnding = { kind: "written", node: "a" }): DeviceSource {
    const all = ["d1", "d2", "d3"].map(live);
    return brokerDevices({
      list: () => all,
      find: (id) => all.find((one) => one.id === id),
      send: () => Promise.resolve(ending),
    });
  }

  test("lists what is connected, page by page, and knows nothing of others", async () => {
    const first = await source().devices({ state: "online", limit: 2 });
    expect(JSON.parse(first.text)).toMatchObject([{ id: "d1" }, { id: "d2" }]);
    const next = { state: "online", limit: 2, cursor: first.next ?? "" } as const;
    expect(await source().devices(next)).toEqual({ text: expect.stringContaining('"d3"') });
    for (const asked of [source().devices({ state: "all", limit: 2 }), source().device("d9")]) {
      const error: unknown = await asked.catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ name: "StartupError", exitCode: 2 });
    }
    expect(JSON.parse(await source().device("d2"))).toMatchObject({ id: "d2", state: "online" });
  });

  test("tells how a command ended", async () => {
    const send = (ending: CommandEnding) => source(ending).sendToDevice("d1", "x", 1_000);
    expect(await send({ kind: "written", node: "a" })).toBe('{"id":"d1","node":"a"}');
    const line = { kind: "text", text: "ok" } as const;
    expect(await send({ kind: "replied", node: "a", line }))
      .toBe('{"id":"d1","node":"a","reply":"ok"}');
    const bytes = { kind: "bytes", bytes: new Uint8Array([255]) } as const;
    expect(JSON.parse(await send({ kind: "replied", node: "a", line: bytes })))
      .toEqual({ id: "d1", node: "a", reply: { base64: "/w==" } });
    const cases = [
      ["no-reply", 4],
      ["not-found", 2],
      ["busy", 1],
      ["refused", 2],
      ["lost", 1],
      ["broker-away", 3],
    ] as const;
    for (const [kind, exitCode] of cases) {
      const error: unknown = await send({ kind, node: "a", message: "so it is" })
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ exitCode, message: "so it is" });
    }
  });
});
