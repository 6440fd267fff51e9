/**
 * Bytes of any kind, in pieces of any size, to the port of devices of the compiled executable: with and
 * without authentication. Devices that behave keep working, the process lives and stays small, and no
 * connection is left.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { type App, startNode, temporaryFolder, until } from "../support/app.ts";
import { anyText } from "./arbitraries.ts";
import { holdsLater, LIMIT_MS } from "./runs.ts";

/** How long to listen to what the gateway may say. */
const LISTEN_MS = 15;
const folder = temporaryFolder();
let app: App;
let port: number;

beforeAll(async () => {
  writeFileSync(join(folder.path, "devices"), "good let-me-in\n");
  app = await startNode(
    [
      ...["all", "--port", "0", "--device-port", "0", "--device-auth", "devices"],
      ...["--isolates", "1"],
    ],
    { cwd: folder.path },
  );
  port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(app.log)?.[1]);
}, LIMIT_MS);
afterAll(async () => {
  await app?.[Symbol.asyncDispose]();
  folder.remove();
});

/** Sends pieces, each on its own way, and hangs up. */
function visit(pieces: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const end = () => {
      socket.destroy();
      resolve();
    };
    socket.on("error", end);
    socket.on("close", end);
    socket.resume();
    for (const piece of pieces) socket.write(piece);
    setTimeout(end, LISTEN_MS);
  });
}

const line = fc.oneof(
  anyText.map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  fc.integer({ min: 1, max: 20_000 }).map((length) => Buffer.alloc(length, "x")),
  fc.constantFrom("good let-me-in", "good wrong", "* let-me-in", "GET / HTTP/1.1", "\r", "\0")
    .map((text) => Buffer.from(text)),
);
const end = fc.constantFrom("\n", "\r\n", "\r", "", "\n\n").map((text) => Buffer.from(text));

/** Lines, cut into pieces at any place. */
const visits = fc.tuple(
  fc.boolean(),
  fc.array(fc.tuple(line, end), { minLength: 1, maxLength: 6 }),
  fc.array(fc.nat(400), { maxLength: 5 }),
).map(([isKnown, lines, cuts]) => {
  const all = Buffer.concat([Buffer.from(isKnown ? "good let-me-in\n" : ""), ...lines.flat()]);
  const places = [0, ...cuts.toSorted((a, b) => a - b), all.length];
  return places.slice(1).map((place, index) => all.subarray(places[index], place));
});

test("whatever a device sends, the gateway and its other devices go on", async () => {
  const residentBefore = residentKiB();
  await holdsLater(visits, visit, 150);
  const said: string[] = [];
  const socket = connect(port, "127.0.0.1");
  socket.on("data", (chunk) => said.push(chunk.toString()));
  socket.write("good let-me-in\n");
  await until(async () => {
    const response = await fetch(`${app.url}/devices/good/commands`, {
      method: "POST",
      body: '{"cmd":"are-you-there"}',
    });
    return response.ok;
  }, "the device to be commanded");
  await until(() => said.join("").includes("are-you-there"), "the command to arrive");
  socket.destroy();
  await until(
    () => readdirSync(`/proc/${app.pid}/fd`).length < 80,
    "its connections to be closed",
  );
  expect(app.isRunning).toBe(true);
  expect(app.log).not.toMatch(/uncaught|unhandled|"level":"(?:ERROR|FATAL)"/i);
  expect(app.log).not.toContain("let-me-in");
  expect(residentKiB() - residentBefore).toBeLessThan(200 * 1024);
}, LIMIT_MS);

function residentKiB(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${app.pid}/status`, "utf8"))?.[1]);
}
