/**
 * What HTTP itself costs: the front's application beside a bare Hono route that does the same with
 * JSON, both with a caller that answers at once, so that no broker hides the difference. Prints
 * requests a second and the server's processor time for each. `bun scripts/bench_http.ts`.
 */
import { Hono } from "hono";
import type { Caller } from "../src/calls/call.ts";
import type { Ending } from "../src/calls/outcome.ts";
import { createApp } from "../src/http/app.ts";
import { type HttpHandler, HttpServer } from "../src/platform/http_server.ts";
import { openConnection } from "./bench/http_client.ts";
import { line, measure, median, medianRound } from "./bench/stats.ts";

const ROUNDS = 5;
const SECONDS = 2;
const WARM_UP_SECONDS = 1;
const CONCURRENCY = 64;
const NAMES = ["bare", "ours"] as const;
type Name = typeof NAMES[number];

const ENDING: Ending = { kind: "succeeded", resultJson: "3", headers: {} };
const caller: Caller = { pending: 0, call: () => Promise.resolve(ENDING) };

function ours(): HttpHandler {
  const app = createApp({
    caller,
    directory: { list: () => [], settled: () => Promise.resolve(), isSettled: true },
    nodes: { list: () => [] },
    health: { node: "bench", broker: () => ({ kind: "connected", since: new Date() }) },
    options: { host: "127.0.0.1", maxBodyBytes: 12 * 2 ** 20, exposeErrors: false },
  });
  return (request, connection) => app.fetch(request, connection);
}

function bare(): HttpHandler {
  const app = new Hono();
  app.post("/tasks/:task/call", async (c) => {
    const argsJson = JSON.stringify(await c.req.json());
    const ending = await caller.call(c.req.param("task"), { argsJson, kwargsJson: "{}" });
    return c.json(ending.kind === "succeeded" ? JSON.parse(ending.resultJson) : null);
  });
  return (request) => app.fetch(request);
}

async function serve(name: string): Promise<void> {
  const server = new HttpServer({
    host: "127.0.0.1",
    port: 0,
    handler: name === "bare" ? bare() : ours(),
  });
  await server.start();
  process.send?.(server.port);
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1_000);
  });
  process.on("disconnect", () => process.exit(0));
}

/** A server in a process of its own, and the next number that it tells. */
function startServer(name: Name) {
  let told = Promise.withResolvers<number>();
  const child = Bun.spawn([process.execPath, import.meta.path, "serve", name], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (message) => told.resolve(Number(message)),
  });
  const next = () => told.promise.finally(() => (told = Promise.withResolvers()));
  return {
    port: next(),
    cpuMs: () => {
      child.send("cpu");
      return next();
    },
    stop: async () => {
      child.kill();
      await child.exited;
    },
  };
}

async function round(name: Name) {
  const server = startServer(name);
  const url = `http://127.0.0.1:${await server.port}/tasks/math.add/call`;
  const free = await Promise.all(
    Array.from({ length: CONCURRENCY }, () => openConnection(url, "[1,2]")),
  );
  let requests = 0;
  const operate = async () => {
    const connection = free.pop();
    if (connection === undefined) throw new Error("More in flight than connections");
    const ok = await connection.request();
    free.push(connection);
    requests += 1;
    return ok;
  };
  await measure(operate, { concurrency: CONCURRENCY, seconds: WARM_UP_SECONDS });
  requests = 0;
  const before = await server.cpuMs();
  const figures = await measure(operate, { concurrency: CONCURRENCY, seconds: SECONDS });
  const cpuUs = (await server.cpuMs() - before) * 1_000 / requests;
  for (const connection of free) connection.close();
  await server.stop();
  return { figures, cpuUs };
}

async function main(): Promise<void> {
  const rounds: Record<Name, Awaited<ReturnType<typeof round>>[]> = { bare: [], ours: [] };
  for (let i = 0; i < ROUNDS; i++) {
    for (const name of NAMES) rounds[name].push(await round(name));
  }
  const cpuUs = (name: Name) => median(rounds[name].map((one) => one.cpuUs));
  const base = medianRound(rounds.bare.map(({ figures }) => figures));
  for (const name of NAMES) {
    const figures = medianRound(rounds[name].map((one) => one.figures));
    console.log(`${line(name, figures, base)}   ${cpuUs(name).toFixed(1)} µs of processor`);
  }
  console.log(`ours costs ${(cpuUs("ours") - cpuUs("bare")).toFixed(1)} µs more for each request`);
}

const [, , command, name = ""] = process.argv;
await (command === "serve" ? serve(name) : main());
