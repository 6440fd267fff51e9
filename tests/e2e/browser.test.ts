/** No web page can call a task on a front that listens on loopback: a real browser tries. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { type App, startNode, temporaryFolder } from "../support/app.ts";

const CHROMIUM = "/usr/bin/chromium";
const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  // A name that means this machine, as a rebound one does.
  "--host-resolver-rules=MAP rebound.example 127.0.0.1",
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

const folder = temporaryFolder();
const marks = join(folder.path, "marks");
let app: App;
let browser: Browser;
let stranger: Bun.Server<undefined>;

beforeAll(async () => {
  if (!existsSync(CHROMIUM)) {
    throw new Error('Chromium is missing: run "apt-get install chromium" as root');
  }
  mkdirSync(join(folder.path, "tasks"));
  writeFileSync(
    join(folder.path, "tasks", "mark.ts"),
    `import { appendFileSync } from "node:fs";
     import { task } from "coxswain";
     task("mark", () => appendFileSync(${JSON.stringify(marks)}, "x"));`,
  );
  app = await startNode(["all", "--port", "0", "--tasks", "tasks"], { cwd: folder.path });
  stranger = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () =>
      new Response("<!doctype html><title>stranger</title>", {
        headers: { "content-type": "text/html" },
      }),
  });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await stranger?.stop(true);
  await app?.[Symbol.asyncDispose]();
  folder.remove();
});

const count = () => existsSync(marks) ? readFileSync(marks, "utf8").length : 0;

test("a page of another origin cannot run a task, however it tries", async () => {
  const page = await browser.newPage();
  for (const host of ["127.0.0.1", "localhost"]) {
    await page.goto(`http://${host}:${stranger.port}/`);
    const tries = await page.evaluate(async (target) => {
      const attempt = (promise: Promise<Response>) =>
        promise.then(({ status, type }) => `${type} ${status}`, (error) => String(error));
      const plain = { method: "POST", body: "[]" };
      const found = [
        await attempt(fetch(target, plain)),
        await attempt(fetch(target, { ...plain, mode: "no-cors" })),
        await attempt(fetch(target, { ...plain, headers: { "content-type": "application/json" } })),
        await attempt(fetch(target, { ...plain, credentials: "include" })),
        String(navigator.sendBeacon(target, "[]")),
      ];
      const form = Object.assign(document.createElement("form"), {
        method: "POST",
        action: target,
        target: "sink",
        enctype: "text/plain",
      });
      const sink = Object.assign(document.createElement("iframe"), { name: "sink" });
      document.body.append(sink, form);
      const loaded = new Promise((resolve) => sink.addEventListener("load", resolve));
      form.submit();
      await loaded;
      return found;
    }, `${app.url}/tasks/mark/call`);
    expect(tries.filter((outcome) => / 200$/.test(outcome))).toEqual([]);
  }
  await page.close();
  // What was sent before is done with once this one is answered: the front takes them in order.
  expect((await app.call("math.add", [1, 1])).status).toBe(200);
  expect(count()).toBe(0);
}, 60_000);

test("a page of the front's own origin can, and so can a program", async () => {
  const before = count();
  const page = await browser.newPage();
  await page.goto(`${app.url}/`);
  const status = await page.evaluate(async () => {
    const { status } = await fetch("/tasks/mark/call", { method: "POST", body: "[]" });
    return status;
  });
  await page.close();
  expect(status).toBe(200);
  expect((await app.call("mark", [])).status).toBe(200);
  expect(count()).toBe(before + 2);
}, 60_000);

/** In a page: what comes on a WebSocket, or how it ends. */
const listen = (url: string) =>
  new Promise<string>((resolve) => {
    const socket = new WebSocket(url, "coxswain.channels");
    socket.onmessage = ({ data }) => {
      resolve(`told ${JSON.parse(data).message}`);
      socket.close();
    };
    socket.onclose = ({ code }) => resolve(`closed ${code}`);
    socket.onopen = () => document.body.dataset["open"] = "yes";
  });

test(
  "a page of the front's own origin follows channels, one of another origin does not",
  async () => {
    const target = `${app.url.replace("http", "ws")}/channels/pages.*`;
    const publish = () =>
      fetch(`${app.url}/channels/pages.one`, { method: "POST", body: '"hello"' });
    const own = await browser.newPage();
    await own.goto(`${app.url}/`);
    const told = own.evaluate(listen, target);
    await own.waitForSelector("body[data-open]", { state: "attached" });
    expect((await publish()).status).toBe(202);
    expect(await told).toBe("told hello");
    const streamed = own.evaluate(() =>
      new Promise<string[]>((resolve) => {
        const got: string[] = [];
        const source = new EventSource("/channels/pages.%23");
        source.onopen = () => document.body.dataset["streams"] = "yes";
        source.onmessage = ({ data, lastEventId }) => {
          got.push(`${JSON.parse(data).message} ${lastEventId.startsWith(JSON.parse(data).id)}`);
          if (got.length === 2) {
            source.close();
            resolve(got);
          }
        };
      })
    );
    await own.waitForSelector("body[data-streams]", { state: "attached" });
    await publish();
    await publish();
    expect(await streamed).toEqual(["hello true", "hello true"]);
    await own.close();

    const foreign = await browser.newPage();
    for (const host of ["127.0.0.1", "localhost"]) {
      await foreign.goto(`http://${host}:${stranger.port}/`);
      expect(await foreign.evaluate(listen, target)).toBe("closed 1006");
      const status = await foreign.evaluate((url) =>
        new Promise<string>((resolve) => {
          const source = new EventSource(url);
          source.onopen = () => resolve("open");
          source.onerror = () => resolve("refused");
        }), `${app.url}/channels/pages.%23`);
      expect(status).toBe("refused");
    }
    await foreign.close();
  },
  60_000,
);

/** In a page: what becomes of each request that changes something, by its words. */
const changeAll = async ({ base, job }: { base: string; job: string }) => {
  const outcomes: string[] = [];
  const requests: [string, string][] = [
    ["POST", "/tasks/mark/jobs"],
    ["POST", "/jobs"],
    ["POST", "/parallel"],
    ["DELETE", `/jobs/${job}`],
    ["POST", `/jobs/${job}/retry`],
    ["POST", "/exchanges/things?type=topic"],
    ["POST", "/channels/pages"],
    ["POST", "/queues/demo/purge"],
    ["DELETE", "/dead-letters"],
    ["POST", "/devices/d/commands"],
  ];
  for (const [method, path] of requests) {
    for (const mode of ["cors", "no-cors", "same-origin"] as const) {
      const answer = await fetch(`${base}${path}`, { method, mode, body: "[]" })
        .then(({ status, type }) => `${type} ${status}`, (error) => String(error));
      outcomes.push(`${method} ${path} ${mode}: ${answer}`);
    }
  }
  return outcomes;
};

test(
  "a page of another origin changes nothing: no job, exchange, channel, queue or device",
  async () => {
    const accepted = await fetch(`${app.url}/tasks/mark/jobs?delay=1h`, { method: "POST" });
    const { id: job }: { id: string } = await accepted.json();
    const before = await (await fetch(`${app.url}/jobs`)).text();
    const page = await browser.newPage();
    await page.goto(`http://localhost:${stranger.port}/`);
    const outcomes = await page.evaluate(changeAll, { base: app.url, job });
    await page.close();
    expect(outcomes.filter((outcome) => / 20\d$/.test(outcome))).toEqual([]);
    expect((await (await fetch(`${app.url}/jobs/${job}`)).json()).state).toBe("scheduled");
    expect(await (await fetch(`${app.url}/jobs`)).text()).toBe(before);
  },
  60_000,
);

test("a page whose name was made to mean this machine reads and changes nothing", async () => {
  const page = await browser.newPage();
  const base = `http://rebound.example:${new URL(app.url).port}`;
  const answer = await page.goto(`${base}/jobs`);
  expect(answer?.status()).toBe(403);
  // The page is of the front's own origin, as the browser sees it.
  const outcomes = await page.evaluate(changeAll, { base: "", job: "x" });
  expect(outcomes.filter((outcome) => !/ 403$|unsupported in no-cors/.test(outcome))).toEqual([]);
  const reads = await page.evaluate(async () => {
    const statuses: number[] = [];
    for (const path of ["/", "/jobs", "/nodes", "/tasks", "/channels/a?wait=1ms"]) {
      statuses.push((await fetch(path)).status);
    }
    return statuses;
  });
  expect(reads).toEqual([403, 403, 403, 403, 403]);
  expect(await page.evaluate(listen, `${base.replace("http", "ws")}/channels/a`)).toBe(
    "closed 1006",
  );
  const stream = await page.evaluate(() =>
    new Promise<string>((resolve) => {
      const source = new EventSource("/channels/a");
      source.onopen = () => resolve("open");
      source.onerror = () => resolve("refused");
    })
  );
  expect(stream).toBe("refused");
  await page.close();
}, 60_000);
