/**
 * Devices: commands from HTTP on one front to a line on a device that another front holds, with few
 * devices and with many, beside a bare echo over two AMQP hops; what a device costs in memory; lines of
 * devices into a consumer; and all of it at once. The devices are in this process, so that one clock
 * sees a command go and its line arrive.
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fleet } from "../devices/fleet.ts";
import type { RabbitMq } from "../services/rabbitmq.ts";
import { type HttpConnection, openConnection } from "./http_client.ts";
import { cpuMicros, residentKiB, type RunningApp, startApp } from "./nodes.ts";
import { runRawRpc } from "./raw_rpc.ts";
import { runRawTopic } from "./raw_topic.ts";
import { line, measure, percentile, type Round } from "./stats.ts";

const FEW = 100;
const MANY = 10_000;
const IN_FLIGHT = 64;
/** Commands a second of the open-ended load, whatever comes back. */
const RATE = 1_000;
/** How often each of many devices sends a line. */
const LINE_EVERY_MS = 10_000;
/** What has not happened by then never will. */
const PATIENCE_MS = 60_000;

export async function benchDevices(rabbit: RabbitMq, isQuick: boolean): Promise<void> {
  const seconds = isQuick ? 2 : 5;
  const raw = await runRawRpc({ url: rabbit.url, concurrency: IN_FLIGHT, seconds });
  console.log(line(`bare echo over two AMQP hops, ${IN_FLIGHT} in flight`, raw));
  const serve = ["serve", "--port", "0", "--amqp-url", rabbit.url, "--heartbeat-broadcast", "1"];
  await using gateway = await startApp(...serve, "--device-port", "0", "--no-recorder");
  await using front = await startApp(...serve, "--device-port", "off");
  const few = await Devices.connect(gateway, FEW);
  await few.known(front);
  await commands(front, few, raw, seconds);
  few.fleet.close();
  await few.forgotten(front);
  await linesIntoConsumer(rabbit, gateway, isQuick ? 5_000 : 20_000);
  const many = await Devices.connect(gateway, MANY);
  await many.known(front);
  tellMemory(gateway, many);
  await commands(front, many, raw, seconds);
  await everything({ gateway, front, devices: many, seconds: seconds * 4 });
  await death(gateway, front, many);
}

/** Devices of this process, and when the commands that they were told came. */
class Devices {
  readonly fleet: Fleet;
  readonly ids: readonly string[];
  readonly kibBefore: number;
  readonly #arrived: Map<string, () => void>;
  readonly #end: { isExpected: boolean };
  #next = 0;

  private constructor(
    fleet: Fleet,
    arrived: Map<string, () => void>,
    kibBefore: number,
    end: { isExpected: boolean },
  ) {
    this.#end = end;
    this.fleet = fleet;
    this.ids = Array.from({ length: fleet.size }, (_, device) => fleet.address(device));
    this.#arrived = arrived;
    this.kibBefore = kibBefore;
  }

  static async connect({ log, pid }: RunningApp, count: number): Promise<Devices> {
    const port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(log)?.[1]);
    const arrived = new Map<string, () => void>();
    const end = { isExpected: false };
    const kibBefore = residentKiB(pid);
    const start = performance.now();
    const fleet = await Fleet.connect({
      port,
      count,
      heard: (_, text) => {
        arrived.get(text)?.();
        return undefined;
      },
      lost: (device) => {
        if (!end.isExpected) throw new Error(`Device ${device} has lost its connection`);
      },
    });
    const ms = performance.now() - start;
    console.log(`${count} devices connected, ${Math.round(count / ms * 1_000)} a second`);
    return new Devices(fleet, arrived, kibBefore, end);
  }

  /** From now on they may lose their connections. */
  expectEnd(): void {
    this.#end.isExpected = true;
  }

  /** Resolves when a front knows all of them. */
  async known(front: RunningApp): Promise<void> {
    const count = this.ids.length;
    await until(
      `${count} devices are known`,
      async () => (await pages(front, "/devices?limit=1000")).length === count,
    );
  }

  async forgotten(front: RunningApp): Promise<void> {
    await until(
      "no device is known",
      async () => (await pages(front, "/devices?limit=1000")).length === 0,
    );
  }

  /**
   * Sends one of them a command of its own.
   * @returns whether it was answered, and how long the line took to arrive, in milliseconds.
   */
  async command(connection: HttpConnection): Promise<Commanded> {
    const text = `c${this.#next++}`;
    const id = this.ids[Math.floor(Math.random() * this.ids.length)] ?? "";
    const before = performance.now();
    let lineMs = Infinity;
    this.#arrived.set(text, () => lineMs = performance.now() - before);
    const isAnswered = await connection.request(
      `{"cmd":"${text}"}`,
      `/devices/${id}/commands`,
    );
    const answerMs = performance.now() - before;
    // It is answered when it is written; that the line is here may take a moment more.
    while (isAnswered && lineMs === Infinity && performance.now() - before < PATIENCE_MS) {
      await Bun.sleep(1);
    }
    this.#arrived.delete(text);
    return { isAnswered: isAnswered && lineMs < Infinity, lineMs, answerMs };
  }
}

interface Commanded {
  readonly isAnswered: boolean;
  readonly lineMs: number;
  readonly answerMs: number;
}

function tellMemory({ pid }: RunningApp, { kibBefore, ids }: Devices): void {
  const each = (residentKiB(pid) - kibBefore) / ids.length;
  console.log(`memory of the gateway: ${each.toFixed(1)} KiB a device  (aim: 8 KiB)`);
}

/** As many as there are answers to, and then so many a second. */
async function commands(
  front: RunningApp,
  devices: Devices,
  raw: Round,
  seconds: number,
): Promise<void> {
  const count = `${devices.ids.length} devices`;
  const connections = await openMany(front, IN_FLIGHT);
  const free = [...connections];
  const lines: number[] = [];
  const operate = async () => {
    const connection = free.pop();
    if (connection === undefined) return false;
    const { isAnswered, lineMs } = await devices.command(connection);
    free.push(connection);
    lines.push(lineMs);
    return isAnswered;
  };
  await measure(operate, { concurrency: IN_FLIGHT, seconds: 0.5 });
  const round = await measure(operate, { concurrency: IN_FLIGHT, seconds });
  console.log(line(`commands, ${count}, ${IN_FLIGHT} in flight`, round, raw));
  for (const connection of connections) connection.close();
  await steady(front, devices, seconds, `commands, ${count}, ${RATE}/s`);
}

/** So many a second, whether those before are answered or not. */
async function steady(
  front: RunningApp,
  devices: Devices,
  seconds: number,
  name: string,
): Promise<void> {
  const free = await openMany(front, IN_FLIGHT);
  const results: Commanded[] = [];
  const underway = new Set<Promise<void>>();
  const start = performance.now();
  let sent = 0;
  while (performance.now() < start + seconds * 1_000) {
    const due = Math.floor((performance.now() - start) / 1_000 * RATE);
    for (; sent < due; sent++) {
      const command = (async () => {
        const connection = free.pop() ?? await openConnection(`${front.url}/devices`, "{}");
        results.push(await devices.command(connection));
        free.push(connection);
      })();
      underway.add(command);
      void command.finally(() => underway.delete(command));
    }
    await Bun.sleep(1);
  }
  await Promise.all(underway);
  for (const connection of free) connection.close();
  const failures = results.filter(({ isAnswered }) => !isAnswered).length;
  const round = (pick: (result: Commanded) => number): Round => {
    const sorted = results.map(pick).toSorted((a, b) => a - b);
    return {
      perSecond: results.length / seconds,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      failures,
    };
  };
  console.log(`${line(`${name}: to the line`, round(({ lineMs }) => lineMs))}  (aim: p99 50 ms)`);
  console.log(line(`${name}: to the answer`, round(({ answerMs }) => answerMs)));
}

function openMany(front: RunningApp, count: number): Promise<HttpConnection[]> {
  return Promise.all(
    Array.from({ length: count }, () => openConnection(`${front.url}/devices`, "{}")),
  );
}

/** Each of many devices sends lines, and others are commanded meanwhile. */
async function everything({ gateway, front, devices, seconds }: {
  readonly gateway: RunningApp;
  readonly front: RunningApp;
  readonly devices: Devices;
  readonly seconds: number;
}): Promise<void> {
  const count = devices.ids.length;
  const start = performance.now();
  const cpuBefore = [gateway, front].map(({ pid }) => cpuMicros(pid));
  let lines = 0;
  const timer = setInterval(() => {
    const due = Math.floor((performance.now() - start) / LINE_EVERY_MS * count);
    for (; lines < due; lines++) devices.fleet.send(lines % count, `celsius 21.5 n ${lines}`);
  }, 5);
  await steady(front, devices, seconds, `with lines, ${count} devices, ${RATE}/s`);
  clearInterval(timer);
  const ms = performance.now() - start;
  const [atGateway, atFront] = [gateway, front].map(({ pid }, index) =>
    (cpuMicros(pid) - (cpuBefore[index] ?? 0)) / 10 / ms
  );
  console.log(
    `  with ${Math.round(lines / ms * 1_000)} lines a second; processor: gateway ` +
      `${atGateway?.toFixed(0)} %, front ${atFront?.toFixed(0)} %; ` +
      `resident: gateway ${Math.round(residentKiB(gateway.pid) / 1_024)} MiB, ` +
      `front ${Math.round(residentKiB(front.pid) / 1_024)} MiB`,
  );
}

/** A gateway is killed with all of its devices: until the last of them is recorded offline. */
async function death(gateway: RunningApp, front: RunningApp, devices: Devices): Promise<void> {
  await until("all are recorded", async () => await lacking(front, devices.ids, "online") === 0);
  devices.expectEnd();
  const start = performance.now();
  process.kill(gateway.pid, "SIGKILL");
  await until("all are offline", async () => await lacking(front, devices.ids, "offline") === 0);
  const seconds = (performance.now() - start) / 1_000;
  console.log(
    `a gateway killed with ${devices.ids.length} devices, beacons each second: all recorded ` +
      `offline after ${seconds.toFixed(1)} s`,
  );
}

/** How many of these are not recorded in this state. */
async function lacking(
  front: RunningApp,
  ids: readonly string[],
  state: "online" | "offline",
): Promise<number> {
  const recorded = await pages<{ readonly id: string; readonly state: string }>(
    front,
    "/devices?state=all&limit=1000",
  );
  const known = new Set(recorded.flatMap((device) => device.state === state ? device.id : []));
  return ids.filter((id) => !known.has(id)).length;
}

async function pages<T>(front: RunningApp, first: string): Promise<readonly T[]> {
  const elements: T[] = [];
  for (let path = first; path !== "";) {
    const page = await fetch(`${front.url}${path}`);
    const listed: readonly T[] = await page.json();
    elements.push(...listed);
    path = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1] ?? "";
  }
  return elements;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`Waited ${PATIENCE_MS} ms until ${what}`);
    await Bun.sleep(100);
  }
}

/** A handler that leaves one byte for each line: the file's size is how many were handled. */
const tasksOf = (marks: string) => `
  import { openSync, writeSync } from "node:fs";
  import { consume } from "coxswain";

  const marks = openSync(${JSON.stringify(marks)}, "a");
  consume(
    { queue: "bench.lines", exchange: "cox.pubsub", keys: "device.*.line", prefetch: 64 },
    () => void writeSync(marks, "x"),
  );
`;

async function linesIntoConsumer(
  rabbit: RabbitMq,
  gateway: RunningApp,
  messages: number,
): Promise<void> {
  const body = new TextEncoder().encode("celsius 21.5 reference 0.12");
  const raw = await runRawTopic({
    url: rabbit.url,
    messages,
    concurrency: IN_FLIGHT,
    body,
    isAcked: true,
  });
  console.log(`${"bare AMQP, durable, confirmed and acked".padEnd(44)} ${Math.round(raw)}/s`);
  const folder = mkdtempSync(join(tmpdir(), "coxswain-bench-"));
  const marks = join(folder, "marks");
  const tasks = join(folder, "tasks.ts");
  closeSync(openSync(marks, "a"));
  writeFileSync(tasks, tasksOf(marks));
  try {
    await using _worker = await startApp(
      "work",
      "--no-demo",
      "--tasks",
      tasks,
      "--amqp-url",
      rabbit.url,
    );
    const devices = await Devices.connect(gateway, FEW);
    const start = performance.now();
    for (let sent = 0; sent < messages; sent++) {
      devices.fleet.send(sent % FEW, "celsius 21.5 reference 0.12");
    }
    while (statSync(marks).size < messages) {
      if (performance.now() > start + PATIENCE_MS) {
        throw new Error(`${statSync(marks).size} of ${messages} lines were handled`);
      }
      await Bun.sleep(5);
    }
    const perSecond = messages / (performance.now() - start) * 1_000;
    devices.fleet.close();
    console.log(
      `${"lines of 100 devices into a consumer".padEnd(44)} ${Math.round(perSecond)}/s  ` +
        `${(perSecond / raw).toFixed(2)} ×`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
