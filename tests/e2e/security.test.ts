/**
 * Secrets and TLS on the compiled executable. A canary stands in every setting that holds a secret; it
 * appears in no output, answer, message, record or list of processes. HTTP over TLS is answered to who
 * trusts its authority, and mistakes with certificates are one clear sentence.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { AMQPClient } from "@cloudamqp/amqp-client";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";
import { Authority } from "../support/certificates.ts";

/** Found by its beginning, whatever is cut off behind it. */
const CANARY = "canary4Q7x";

describe("a canary in every secret", () => {
  const folder = temporaryFolder();
  const token = `${CANARY}-token`;
  const readToken = `${CANARY}-read`;
  const password = `${CANARY}-mq`;
  let front: App;
  let worker: App;
  const heard: string[] = [];

  beforeAll(async () => {
    const rabbit = await sharedRabbitMq();
    const vhost = "canary";
    rabbit.ctl("add_vhost", vhost);
    rabbit.ctl("add_user", "app", password);
    for (const user of ["app", "guest"]) {
      rabbit.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*");
    }
    const tasks = join(folder.path, "tasks");
    mkdirSync(tasks);
    writeFileSync(
      join(tasks, "secret.ts"),
      `import { task } from "coxswain";
       task("apart", { isolation: "process" }, async () => {
         await Bun.sleep(300);
         return true;
       });
       task("broken", { retry: { limit: 0 } }, () => { throw new Error("as told"); });`,
    );
    const url = `amqp://app:${password}@127.0.0.1:${rabbit.port}/${vhost}`;
    writeFileSync(join(folder.path, "token"), token);
    worker = await startNode(
      ["work", "--tasks", "tasks", "--log-level", "debug", "--heartbeat-broadcast", "1"],
      { cwd: folder.path, env: { COX_AMQP_URL: url } },
    );
    const parts = ["--mq-host", "127.0.0.1", "--mq-port", `${rabbit.port}`, "--mq-user", "app"]
      .concat("--mq-vhost", vhost);
    front = await startNode(
      [
        ...["serve", "--port", "0", "--log-level", "debug", "--data", "data", "--device-port", "0"],
        ...["--token-file", "token", "--expose-errors", "--heartbeat-broadcast", "1", ...parts],
      ],
      { cwd: folder.path, env: { COX_MQ_PASSWORD: password, COX_READ_TOKEN: readToken } },
    );
    const client = await new AMQPClient(`${rabbit.url.replace(/\/$/, "")}/${vhost}`).connect();
    const channel = await client.channel();
    const { name } = await channel.queueDeclare("", { exclusive: true });
    for (const exchange of ["cox.nodes", "Heartbeat", "cox.jobs"]) {
      await channel.queueBind(name, exchange, "#");
    }
    await channel.basicConsume(name, { noAck: true }, (message) => {
      heard.push(`${JSON.stringify(message.properties)} ${message.bodyString()}`);
    });
  }, 60_000);
  afterAll(async () => {
    await front?.[Symbol.asyncDispose]();
    await worker?.[Symbol.asyncDispose]();
    folder.remove();
  }, 60_000);

  const ask = (path: string, method = "GET", body?: string, as = token) =>
    fetch(`${front.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${as}` },
      ...(body === undefined ? {} : { body }),
    });

  test("shows nowhere while a front and a worker run", async () => {
    await until(
      async () => (await ask("/tasks/math.add/call", "POST", "[1,2]")).status === 200,
      "an answer",
    );
    const answers: string[] = [];
    const note = async (answer: Promise<Response>) => {
      const { headers, status } = await answer;
      answers.push(`${status} ${JSON.stringify([...headers])} ${await (await answer).text()}`);
    };
    const apart = ask("/tasks/apart/call", "POST", "[]");
    await until(() => childrenOf(worker.pid).length > 0, "a process of the worker's");
    const titles = childrenOf(worker.pid).map((pid) => {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8");
    });
    expect(titles.join()).not.toContain(CANARY);
    await note(apart);
    await note(ask("/tasks/broken/call", "POST", "[]"));
    const job: { id: string } = await (await ask("/tasks/broken/jobs", "POST", "[]")).json();
    await until(
      async () => (await (await ask(`/jobs/${job.id}`)).json()).state === "failed",
      "the job to fail",
    );
    for (
      const path of [
        ...["/", "/healthz", "/readyz", "/nodes", "/tasks", "/queues", "/jobs", `/jobs/${job.id}`],
        ...["/dead-letters", "/schedules", "/devices", "/metrics", "/openapi.json", "/nothing"],
      ]
    ) await note(ask(path));
    await note(ask("/tasks/math.add/call", "POST", "[1]", readToken));
    await note(ask("/tasks", "GET", undefined, `${CANARY}-wrong`));
    // A token in a query is none, and the address that it stands in is not logged.
    const inQuery = await fetch(`${front.url}/tasks?token=${token}&access_token=${token}`);
    expect(inQuery.status).toBe(401);
    answers.push(await inQuery.text());
    await until(() => heard.length > 10, "what nodes say on the broker");
    for (const text of [...answers, ...heard, front.log, front.output, worker.log, worker.output]) {
      expect(text).not.toContain(CANARY);
    }
    for (const file of readdirSync(join(folder.path, "data"))) {
      expect(readFileSync(join(folder.path, "data", file)).includes(CANARY)).toBe(false);
    }
  }, 60_000);

  const gone = "127.0.0.1:1";
  const failing: readonly (readonly [readonly string[], Readonly<Record<string, string>>?])[] = [
    [["serve", "--amqp-url", `amqp://u:${CANARY}@${gone}`, "--connect-timeout", "200ms"]],
    [["work", "--amqp-url", `amqp://u:${CANARY}`]],
    [["work", "--amqp-url", `amqp//u:${CANARY}@h`]],
    [["work", "--amqp-url", `http://u:${CANARY}@h`]],
    [["work", "--mq-password", CANARY]],
    [["all", "--store", `mysql://u:${CANARY}@h/db`]],
    [["all", "--store", `postgres://u:${CANARY}@${gone}/db?sslmode=bogus`, "--device-port", "0"]],
    [["all", "--token", `${CANARY} blank`]],
    [["all", "--token", CANARY, "--read-token", CANARY]],
    [["all", "--read-token", CANARY]],
    [[`--tokn=${CANARY}`]],
    [["all", `--tokn=${CANARY}`]],
    [["all", "--bogus"], { COX_TOKEN: CANARY }],
    [["all"], { COX_TOKEN: `${CANARY} blank` }],
    [["all"], { COX_TOKN: CANARY }],
    [["call", "t", "--url", `http://u:${CANARY}@${gone}`]],
    [["call", "t", "--url", `http://u:${CANARY}@bad host`]],
    [["call", "t", "--token", CANARY, "--url", `http://${gone}`]],
    [["job", "list", "--url", `http://u:${CANARY}@${gone}`]],
    [["publish", "c", "1", "--url", `http://u:${CANARY}@${gone}`]],
    [["nodes", "--amqp-url", `amqp://u:${CANARY}@${gone}`, "--connect-timeout", "200ms"]],
  ];
  test.concurrent.each(failing.map(([args, env = {}]) => ({ args, env })))(
    "%j fails without showing it",
    async (given) => {
      const { args, env } = given;
      const { code, output, log } = await runApp(args, { env });
      expect(code).not.toBe(0);
      expect(log + output).not.toContain(CANARY);
      expect(log).not.toMatch(/^\s+at .*:\d+/m);
    },
  );

  test.concurrent.each([
    `{"token": "${CANARY}", }`,
    `{"token": ${CANARY}}`,
    `{"token": ["${CANARY}"]}`,
    `{"amqpUrl": "amqp//u:${CANARY}@h"}`,
    `{"tokn": "${CANARY}"}`,
    `{"store": "postgres://u:${CANARY}@h:99999/x"}`,
  ])("coxswain.json with %s is refused without showing it", async (text) => {
    const settings = temporaryFolder();
    writeFileSync(join(settings.path, "coxswain.json"), text);
    const { code, output, log } = await runApp(["all"], { cwd: settings.path });
    settings.remove();
    expect(code).toBe(2);
    expect(log + output).not.toContain(CANARY);
  });

  test("--help shows no variable's value", async () => {
    const env = { COX_TOKEN: CANARY, COX_AMQP_URL: `amqp://u:${CANARY}@h` };
    const { code, output } = await runApp(["all", "--help"], { env });
    expect(code).toBe(0);
    expect(output).not.toContain(CANARY);
  });
});

/** Processes that a process has started. */
function childrenOf(pid: number): number[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((child) => {
    try {
      const status = readFileSync(`/proc/${child}/stat`, "utf8");
      return Number(status.slice(status.lastIndexOf(")") + 2).split(" ")[1]) === pid;
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
}

describe("HTTP over TLS", () => {
  const authority = new Authority("our authority");
  const stranger = new Authority("another authority");
  const folder = temporaryFolder();
  const path = (name: string, content: string) => {
    writeFileSync(join(folder.path, name), content);
    return join(folder.path, name);
  };
  const own = authority.issue("front", { names: "DNS:localhost,IP:127.0.0.1" });
  const elsewhere = authority.issue("elsewhere", { names: "DNS:elsewhere.example" });
  const ca = path("ca.pem", authority.ca);
  const otherCa = path("other.pem", stranger.ca);
  const served = (pair: { cert: string; key: string }, name: string) => [
    ...["--tls-cert", path(`${name}.crt`, pair.cert), "--tls-key", path(`${name}.key`, pair.key)],
  ];
  let app: App;

  beforeAll(async () => {
    app = await startNode([
      ...["all", "--port", "0", "--device-port", "0", "--isolates", "1", ...served(own, "own")],
    ]);
  }, 30_000);
  afterAll(async () => {
    await app?.[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    stranger[Symbol.dispose]();
    folder.remove();
  });
  const call = (...more: string[]) => runApp(["call", "math.add", "[1,2]", ...more]);

  test("answers who trusts its authority, and shows the others why not", async () => {
    expect(app.url).toStartWith("https://");
    expect(await call("--url", app.url, "--ca-file", ca)).toMatchObject({ code: 0, output: "3\n" });
    for (const more of [["--ca-file", otherCa], []]) {
      const { code, log } = await call("--url", app.url, ...more);
      expect(code).toBe(3);
      expect(log).toContain("its certificate cannot be trusted");
      expect(log).toContain("--ca-file");
    }
    const plain = await call("--url", app.url.replace("https", "http"));
    expect(plain.code).toBe(3);
    expect(plain.log).toContain("https");
  });

  test("is not taken for a host that its certificate does not name", async () => {
    await using other = await startNode([
      ...["all", "--port", "0", "--device-port", "0", "--isolates", "1"],
      ...served(elsewhere, "elsewhere"),
    ]);
    const { code, log } = await call("--url", other.url, "--ca-file", ca);
    expect(code).toBe(3);
    expect(log).toContain("its certificate cannot be trusted");
  });

  test("takes TLS 1.2 and later alone", async () => {
    const port = Number(new URL(app.url).port);
    const versionOf = (version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
      new Promise<string>((resolve) => {
        const socket = connect({
          ...{ port, host: "127.0.0.1", ca: authority.ca },
          ...{ minVersion: version, maxVersion: version },
        }, () => {
          resolve(socket.getProtocol() ?? "");
          socket.destroy();
        });
        socket.on("error", () => resolve("refused"));
      });
    expect(await versionOf("TLSv1.3")).toBe("TLSv1.3");
    expect(await versionOf("TLSv1.2")).toBe("TLSv1.2");
    expect(await versionOf("TLSv1.1")).toBe("refused");
  });

  test.each([
    [["--tls-cert", "own.crt"], "need each other"],
    [["--tls-cert", "own.crt", "--tls-key", "elsewhere.key"], "is not the one of the certificate"],
    [["--tls-cert", "own.key", "--tls-key", "own.key"], "holds no certificate"],
    [["--tls-cert", "none.crt", "--tls-key", "own.key"], "there is none"],
  ])("%j is one clear sentence", async (flags, reason) => {
    const { code, log } = await runApp(["all", "--port", "0", ...flags], { cwd: folder.path });
    expect(code).toBe(2);
    expect(log).toContain(reason);
    expect(log).not.toMatch(/^\s+at /m);
  });

  test("a token that would travel in clear text beyond this machine is warned of", async () => {
    await using open = await startNode([
      ...["all", "--host", "0.0.0.0", "--port", "0", "--device-port", "0", "--isolates", "1"],
      ...["--token", "let-me-in-please"],
    ]);
    expect(open.log).toContain("--tls-cert");
    expect(open.log).toContain('"level":"WARN"');
  });
});
