/** Devices at the compiled program: two fronts on RabbitMQ, and one process with all in it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode, temporaryFolder } from "../support/app.ts";
import { Authority } from "../support/certificates.ts";
import { Device } from "../support/device.ts";
import { EventStream } from "../support/event_stream.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/waiting.ts";

const folder = temporaryFolder();
const TOKENS = join(folder.path, "tokens");
writeFileSync(TOKENS, "* s3cret\nkiln-7 its-own\n");

let rabbit: RabbitMq;
let proxy: TcpProxy;
/** It reaches RabbitMQ over the proxy. */
let a: App;
let b: App;

beforeAll(async () => {
  rabbit = await startRabbitMq();
  proxy = new TcpProxy(rabbit.port);
  [a, b] = await Promise.all([front("a", proxy.port), front("b", rabbit.port)]);
}, 60_000);
afterAll(async () => {
  await a?.[Symbol.asyncDispose]();
  await b?.[Symbol.asyncDispose]();
  await proxy?.[Symbol.asyncDispose]();
  await rabbit?.dispose();
  folder.remove();
}, 60_000);

function front(id: string, brokerPort: number): Promise<App> {
  return startNode([
    ...["serve", "--port", "0", "--no-recorder", "--node-id", id],
    ...["--amqp-url", `amqp://guest:guest@127.0.0.1:${brokerPort}/`, "--heartbeat-broadcast", "1"],
    ...["--device-port", "0", "--device-auth", TOKENS, "--device-max-line", "256KiB"],
  ]);
}

function portOf(app: App): number {
  return Number(/(?:tcp|tls):\/\/127\.0\.0\.1:(\d+)/.exec(app.log)?.[1]);
}

/** Connects, says who it is, and waits until a front knows. */
async function online(at: App, id: string, seenBy: App, token = "s3cret"): Promise<Device> {
  const node = at === a ? "a" : "b";
  const device = new Device(portOf(at), { first: `${id} ${token}\n` });
  await until(`${id} is online at ${node}`, async () => await nodeOf(seenBy, id) === node);
  return device;
}

interface Listed {
  readonly id: string;
  readonly node: string;
}

async function list(app: App): Promise<readonly Listed[]> {
  return await (await fetch(`${app.url}/devices?limit=1000`)).json();
}

async function nodeOf(app: App, id: string): Promise<string | undefined> {
  return (await list(app)).find((device) => device.id === id)?.node;
}

interface Answered {
  readonly status: number;
  readonly id?: string;
  readonly node?: string;
  readonly reply?: unknown;
  readonly type?: string;
}

async function command(app: App, id: string, cmd: string, query = ""): Promise<Answered> {
  const response = await fetch(`${app.url}/devices/${encodeURIComponent(id)}/commands${query}`, {
    method: "POST",
    body: JSON.stringify({ cmd }),
  });
  return { status: response.status, ...await response.json() };
}

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `c${index}`);

describe("two fronts on RabbitMQ", () => {
  test("commands reach a device through the other front, in order, one at a time", async () => {
    using device = (await online(a, "ordered", b)).answers((line) => `did ${line}`);
    const commands = numbered(20);
    for (const cmd of commands) {
      expect(await command(b, "ordered", cmd)).toEqual({ status: 200, id: "ordered", node: "a" });
    }
    await until("all came", () => device.lines.length === 20);
    expect(device.lines).toEqual(commands);
    // Each waits for its own answer, though all are on their way at once.
    const answers = await Promise.all(
      numbered(10).map((cmd) => command(b, "ordered", `again ${cmd}`, "?reply=20s")),
    );
    expect(answers.map(({ reply }) => reply)).toEqual(
      device.lines.slice(20).map((line) => `did ${line}`),
    );
    expect(new Set(device.lines).size).toBe(30);
  });

  test("nobody holds it: 404 at once; it says nothing: 504; it goes: no longer listed", async () => {
    const before = performance.now();
    expect((await command(b, "nobody", "x")).status).toBe(404);
    expect(performance.now() - before).toBeLessThan(1_500);
    using device = await online(a, "silent", b);
    const silent = await command(b, "silent", "x", "?reply=100ms");
    expect([silent.status, silent.type]).toEqual([504, "/problems/no-reply"]);
    // A client that gives up leaves the device free for others.
    const gone = new AbortController();
    const left = fetch(`${b.url}/devices/silent/commands?reply=60s`, {
      method: "POST",
      body: '{"cmd":"long"}',
      signal: gone.signal,
    }).catch(() => "gone");
    await until("it was asked", () => device.lines.includes("long"));
    gone.abort();
    expect(await left).toBe("gone");
    expect(await command(b, "silent", "next")).toMatchObject({ status: 200 });
    device.socket.end();
    await until("b knows", async () => await nodeOf(b, "silent") === undefined);
    expect((await command(b, "silent", "x")).status).toBe(404);
  });

  test(
    "a device that moves while its node stands still is where it went, and only there",
    async () => {
      using before = await online(a, "mover", b);
      a.signal("SIGSTOP");
      let after: Device;
      try {
        after = await online(b, "mover", b);
        expect(await command(b, "mover", "while")).toMatchObject({ status: 200, node: "b" });
        await Bun.sleep(3_500);
      } finally {
        a.signal("SIGCONT");
      }
      using moved = after;
      expect(await command(b, "mover", "after")).toMatchObject({ status: 200, node: "b" });
      await before.closed();
      await until("a knows", async () => await nodeOf(a, "mover") === "b");
      expect(await nodeOf(b, "mover")).toBe("b");
      expect(await command(a, "mover", "through a")).toMatchObject({ status: 200, node: "b" });
      expect(moved.lines).toEqual(["while", "after", "through a"]);
      expect(before.lines.filter((line) => !line.startsWith("error: "))).toEqual([]);
    },
    60_000,
  );

  test("a second connection takes the place of the first, on one node and on another", async () => {
    using first = await online(a, "twice", b);
    using second = await online(a, "twice", b);
    await first.closed();
    expect(first.text).toContain("error: this device has connected anew");
    using third = await online(b, "twice", a);
    await second.closed();
    expect(second.text).toContain("error: this device has connected elsewhere");
    expect(await command(a, "twice", "to the third")).toMatchObject({ status: 200, node: "b" });
    await until("it came", () => third.lines.length === 1);
  });

  test("one that does not read is cut, and stops nobody", async () => {
    using deaf = await online(a, "deaf", b);
    using other = (await online(a, "hears", b)).answers((line) => line);
    deaf.socket.pause();
    const block = "x".repeat(200_000);
    const endings: Promise<Answered>[] = [];
    for (let count = 0; count < 60; count++) endings.push(command(b, "deaf", block));
    expect(await command(b, "hears", "you?", "?reply=20s")).toMatchObject({ reply: "you?" });
    expect(other.isClosed).toBe(false);
    const statuses = new Set((await Promise.all(endings)).map(({ status }) => status));
    // Some were taken, one was cut in its middle, the rest never began.
    expect([...statuses].sort()).toEqual([200, 409, 502]);
    await until("it is offline", async () => await nodeOf(b, "deaf") === undefined);
  }, 60_000);

  test("half lines wait, long ones end it, and other bytes are carried as they are", async () => {
    using half = await online(a, "half", b);
    await using stream = await EventStream.open(`${b.url}/channels/device.*.line`);
    // A reply is the next line: here of bytes that are not UTF-8, in three parts.
    const asked = command(b, "half", "bytes?", "?reply=20s");
    await until("it was asked", () => half.lines.length === 1);
    half.send("\n\r\n");
    half.send(Uint8Array.of(0xff, 0x00));
    await Bun.sleep(20);
    half.send(Uint8Array.of(0x80, 0x0d, 0x0a));
    const { reply } = await asked;
    expect(reply).toEqual({ base64: Uint8Array.of(0xff, 0x00, 0x80).toBase64() });
    const [told] = await stream.come(1);
    expect(told?.data).toMatchObject({
      channel: "device.half.line",
      message: { base64: Uint8Array.of(0xff, 0x00, 0x80).toBase64() },
    });

    using long = await online(a, "long", b);
    long.send("x".repeat(1 << 20));
    await long.closed();
    expect(long.text).toContain("error: a line is longer than 262144 bytes");
    await until("it is offline", async () => await nodeOf(b, "long") === undefined);
  });

  test.each([
    ["a wrong token", "kiln-7 s3cret\n"],
    ["no token", "kiln-7\n"],
    ["garbage", Uint8Array.of(0xfe, 0xff, 0x0a)],
    ["a request of the web", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
  ])("%s: closed, with a line that says why", async (_what, first) => {
    using device = new Device(portOf(b));
    device.send(first);
    await device.closed();
    expect(device.text).toMatch(/^error: [^\n]+\n$/);
    expect((await list(b)).some(({ id }) => id === "kiln-7")).toBe(false);
  });

  test(
    "a broker that is away: 503, devices stay, and what happened is told when it returns",
    async () => {
      using stays = (await online(a, "stays", b)).answers((line) => line);
      const leaves = await online(a, "leaves", b);
      await proxy.refuse();
      await until("a knows", async () => (await fetch(`${a.url}/readyz`)).status === 503);
      const before = performance.now();
      expect(await command(a, "stays", "x")).toMatchObject({
        status: 503,
        type: "/problems/broker-away",
      });
      expect(performance.now() - before).toBeLessThan(1_500);
      leaves.socket.destroy();
      using comes = new Device(portOf(a), { first: "comes s3cret\n" });
      await until("a has it", async () => await nodeOf(a, "comes") === "a");
      expect(stays.isClosed).toBe(false);
      proxy.accept();
      await until("b knows who came", async () => await nodeOf(b, "comes") === "a");
      await until("b knows who left", async () => await nodeOf(b, "leaves") === undefined);
      expect(await command(b, "stays", "still?", "?reply=20s")).toMatchObject({ reply: "still?" });
      expect(comes.isClosed).toBe(false);
    },
    60_000,
  );

  test("hundreds that come and go leave nothing behind", async () => {
    for (let round = 0; round < 4; round++) {
      const devices = numbered(100).map((id) =>
        new Device(portOf(b), { first: `s${id} s3cret\n` })
      );
      await Promise.all(
        devices.map((device) => new Promise((resolve) => device.socket.once("connect", resolve))),
      );
      for (const device of devices) device.socket.destroy();
    }
    await until("none is left", async () => {
      const both = [...await list(a), ...await list(b)];
      return !both.some(({ id }) => /^sc\d/.test(id));
    });
  });

  test("SIGTERM says goodbye to devices, and everybody knows at once", async () => {
    using device = await online(a, "last", b);
    a.signal("SIGTERM");
    await device.closed();
    expect(device.text).toContain("error: the gateway stops");
    expect(await a.exited()).toBe(0);
    await until("b knows", async () => await nodeOf(b, "last") === undefined, 5_000);
  });
});

describe("all in one process", () => {
  test("tasks consume what devices say, and command them; a plain socket is enough", async () => {
    const tasks = new URL("../support/tasks/devices.ts", import.meta.url).pathname;
    await using app = await startNode(
      ["all", "--port", "0", "--device-port", "0", "--isolates", "1", "--tasks", tasks],
    );
    using device = await Device.connected(portOf(app));
    const id = device.address;
    await until("it is known", async () => (await list(app)).some((one) => one.id === id));
    device.send("too hot\r\n");
    await until("it is told", () => device.lines.includes(`recalibrate ${id}`));
    device.answers((line) => `did ${line}`);
    const asked = await app.call("devices.ask", [id, "status?"]);
    expect(await asked.json()).toBe("did status?");
    const told = await app.call("devices.tell", ["nobody", "x"]);
    expect(await told.json()).toBe("UnknownDevice");
    expect(await command(app, id, "bye", "?reply=20s")).toMatchObject({ reply: "did bye" });
    const shown = await (await fetch(`${app.url}/devices/${encodeURIComponent(id)}`)).json();
    expect(shown).toMatchObject({ id, state: "online" });
  }, 60_000);

  test("with TLS, and with tokens that are each its own", async () => {
    using authority = new Authority("devices");
    const { cert, key } = authority.issue("gateway", { names: "IP:127.0.0.1" });
    const files = { cert: join(folder.path, "gw.crt"), key: join(folder.path, "gw.key") };
    writeFileSync(files.cert, cert);
    writeFileSync(files.key, key);
    await using app = await startNode([
      ...["all", "--port", "0", "--device-port", "0", "--isolates", "1", "--device-auth", TOKENS],
      ...["--device-tls-cert", files.cert, "--device-tls-key", files.key],
    ]);
    expect(app.log).toContain("tls://127.0.0.1:");
    using plain = new Device(portOf(app), { first: "kiln-7 its-own\n" });
    await plain.closed();
    using device = new Device(portOf(app), { ca: authority.ca, first: "kiln-7 its-own\n" });
    device.answers((line) => line);
    await until("it is known", async () => (await list(app)).some(({ id }) => id === "kiln-7"));
    expect(await command(app, "kiln-7", "over TLS", "?reply=20s")).toMatchObject({
      reply: "over TLS",
    });
    expect(app.log + app.output).not.toContain("its-own");
  }, 60_000);
});
