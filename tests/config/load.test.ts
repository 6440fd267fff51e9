import { describe, expect, test } from "bun:test";
import type { Config, Mode } from "../../src/config/config.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Flags } from "../../src/config/source.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";

type Files = Readonly<Record<string, string>>;

function surroundings(env: Surroundings["env"] = {}, files: Files = {}): Surroundings {
  return {
    env: { PATH: "/bin", COXSWAIN_OTHER: "1", ...env },
    cwd: "/here",
    processors: 6,
    hostname: "desk.local",
    randomEnd: "4f2a9c",
    readText(path) {
      const text = files[path];
      if (text === undefined) {
        throw Object.assign(new Error(`no such file: ${path}`), { code: "ENOENT" });
      }
      return text;
    },
  };
}

interface Sources {
  readonly env?: Surroundings["env"];
  readonly files?: Files;
}

function load(mode: Mode, flags: Flags = {}, { env, files }: Sources = {}): Config {
  const loaded = loadConfig(mode, flags, surroundings(env, files));
  if (loaded.kind === "refused") throw new Error(loaded.problems.map(formatProblem).join("\n"));
  return loaded.config;
}

/** The configuration of one mode, with its own type. */
function loadMode<M extends Mode>(
  mode: M,
  flags: Flags = {},
  sources: Sources = {},
): Extract<Config, { mode: M }> {
  const config = load(mode, flags, sources);
  if (!isMode(config, mode)) throw new Error(`Expected ${mode}, got ${config.mode}`);
  return config;
}

function isMode<M extends Mode>(config: Config, mode: M): config is Extract<Config, { mode: M }> {
  return config.mode === mode;
}

function problems(mode: Mode, flags: Flags = {}, { env, files }: Sources = {}): string[] {
  const loaded = loadConfig(mode, flags, surroundings(env, files));
  return loaded.kind === "refused" ? loaded.problems.map(formatProblem) : [];
}

const inFile = (content: unknown): Sources => ({
  files: { "/here/coxswain.json": JSON.stringify(content) },
});

describe("loadConfig() without anything given", () => {
  test("all runs on the embedded broker with every default", () => {
    expect(load("all")).toEqual({
      mode: "all",
      node: { id: "desk.local-4f2a9c", graceMs: 25_000 },
      heartbeat: { logEveryMs: 0, broadcastEveryMs: 2_000, exchange: "Heartbeat" },
      exchanges: [],
      routes: [],
      schedules: [],
      recorder: {
        store: { kind: "sqlite", dataDir: "/here/coxswain-data" },
        keepResultsMs: 7 * 86_400_000,
        keepDeadLettersMs: 30 * 86_400_000,
        keepDevicesMs: 7 * 86_400_000,
      },
      log: { level: "info", format: "auto", secrets: [] },
      broker: { kind: "embedded", dataDir: "/here/coxswain-data" },
      http: {
        host: "127.0.0.1",
        port: 8888,
        insecure: false,
        maxBodyBytes: 12 * 1024 * 1024,
        exposeErrors: false,
      },
      channels: {
        maxSubscribers: 10_000,
        maxBacklog: 10_000,
        replay: { maxMessages: 10_000, maxBytes: 33_554_432, maxAgeMs: 300_000 },
      },
      devices: {
        host: "127.0.0.1",
        port: 8123,
        isPortGiven: false,
        maxLineBytes: 4_096,
        maxConnections: 20_000,
        maxPerAddress: 20_000,
        idleMs: 900_000,
      },
      calls: { expiresMs: 30_000, maxPending: 10_000 },
      worker: {
        taskPaths: [],
        isolates: 6,
        slots: 1,
        lookAhead: "auto",
        demo: true,
        tellsEvents: false,
        allowsRemoteShutdown: false,
      },
    });
  });

  test("serve has no worker and asks RabbitMQ on this machine", () => {
    const config = loadMode("serve");
    expect(config.broker).toEqual({
      kind: "amqp",
      url: "amqp://localhost:5672",
      queueType: "classic",
      plainQueues: ["celery"],
      connectTimeoutMs: 30_000,
    });
    expect(config).not.toHaveProperty("worker");
    expect(config.recorder?.store).toEqual({ kind: "sqlite", dataDir: "/here/coxswain-data" });
  });

  test("work has no front and no health port", () => {
    const config = loadMode("work");
    expect(config.broker.url).toBe("amqp://localhost:5672");
    expect(config).not.toHaveProperty("http");
    expect(config).not.toHaveProperty("health");
    expect(config).not.toHaveProperty("recorder");
  });

  test("records are kept by fronts unless they are told not to, by workers if they are told", () => {
    expect(loadMode("serve", { recorder: false })).not.toHaveProperty("recorder");
    const store = "postgres://me:secret-word@db/jobs";
    const flags = { recorder: true, store: [store], keepResults: ["90d"] };
    const config = loadMode("work", flags);
    expect(config.recorder).toEqual({
      store: { kind: "postgres", url: store },
      keepResultsMs: 90 * 86_400_000,
      keepDeadLettersMs: 30 * 86_400_000,
      keepDevicesMs: 7 * 86_400_000,
    });
    expect(config.log.secrets).toContain("secret-word");
    expect(problems("serve", { store: ["mysql://me:secret-word@db/jobs"] })).toEqual([
      expect.stringMatching(/^(?!.*secret-word).*postgres:\/\/user:password@host:5432\/database/),
    ]);
  });

  test("schedules are read from the file, and all that is wrong with them is told", () => {
    const good = [
      { task: "tidy", every: "1h", input: { deep: true } },
      { task: "report", cron: "0 3 * * *", timeZone: "Europe/Berlin", name: "nightly" },
    ];
    expect(loadMode("serve", {}, inFile({ schedules: good })).schedules).toEqual([
      {
        name: "tidy every 1h",
        spec: { kind: "every", everyMs: 3_600_000 },
        task: "tidy",
        input: '{"deep":true}',
        file: "settings",
      },
      {
        name: "nightly",
        spec: { kind: "cron", expression: "0 3 * * *", timeZone: "Europe/Berlin" },
        task: "report",
        input: "",
        file: "settings",
      },
    ]);
    const bad = [
      { every: "1h" },
      { task: "tidy" },
      { task: "tidy", every: "1h", cron: "* * * * *" },
      { task: "tidy", every: "10ms" },
      { task: "tidy", cron: "61 * * * *" },
      { task: "tidy", every: "1h", queue: "q" },
      good[0],
      good[0],
    ];
    const told = problems("serve", {}, inFile({ schedules: bad }));
    expect(told).toHaveLength(7);
    expect(told.join("\n")).toMatch(/name of a task[^]*one of every and cron[^]*at least 1s/);
    expect(told.at(-1)).toContain('two schedules are called "tidy every 1h"');
  });

  test("call and tasks ask the front on this machine, and log warnings alone", () => {
    const target = { kind: "front", url: "http://127.0.0.1:8888" } as const;
    expect(loadMode("call")).toMatchObject({ target, log: { level: "warning" }, json: false });
    expect(loadMode("tasks")).toMatchObject({ target, log: { level: "warning" } });
    expect(loadMode("nodes")).toMatchObject({ target, log: { level: "warning" } });
  });

  test("a node beats by default, and says so by beacons alone", () => {
    expect(loadMode("serve").heartbeat).toEqual({
      logEveryMs: 0,
      broadcastEveryMs: 2_000,
      exchange: "Heartbeat",
    });
  });

  test("the result is frozen, its sections too", () => {
    const config = loadMode("all", { tasks: ["a"] });
    for (const part of [config, config.http, config.worker, config.worker.taskPaths]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  test("a host name with odd characters still makes a node id", () => {
    const odd = { ...surroundings(), hostname: "пчела host" };
    const loaded = loadConfig("work", {}, odd);
    expect(loaded).toMatchObject({ config: { node: { id: "------host-4f2a9c" } } });
  });
});

describe("loadConfig() precedence", () => {
  const env = { COX_PORT: "2" };
  const files = inFile({ port: 3, host: "localhost" });

  test("a flag goes before a variable, a variable before the file", () => {
    expect(loadMode("all", { port: ["1"] }, { env, ...files }).http.port).toBe(1);
    expect(loadMode("all", {}, { env, ...files }).http.port).toBe(2);
    expect(loadMode("all", {}, files).http).toMatchObject({ port: 3, host: "localhost" });
  });

  test("a switch can be turned off again by a flag", () => {
    const sources = { env: { COX_DEMO: "no", COX_EXPOSE_ERRORS: "1" } };
    expect(loadMode("all", {}, sources)).toMatchObject({
      worker: { demo: false },
      http: { exposeErrors: true },
    });
    expect(loadMode("all", { demo: true, exposeErrors: false }, sources)).toMatchObject({
      worker: { demo: true },
      http: { exposeErrors: false },
    });
  });

  test("a blank variable is as if it were not set, but for tokens", () => {
    expect(loadMode("all", {}, { env: { COX_PORT: "", COX_QUEUES: " " } }).http.port).toBe(8888);
    expect(problems("all", {}, { env: { COX_TOKEN: "" } })).toEqual([
      "COX_TOKEN: expected a token that is not blank, of visible ASCII characters without spaces",
    ]);
    expect(problems("all", { token: ["  "] })).toHaveLength(1);
  });
});

describe("loadConfig() reads values", () => {
  test("durations, sizes and words, from all three sources", () => {
    const config = loadMode("all", { grace: ["1.5m"], lookAhead: ["AUTO"] }, {
      env: { COX_CALL_EXPIRES: "500ms", COX_MAX_BODY: "1MiB", COX_LOG_LEVEL: "WARN" },
      ...inFile({ lookAhead: 7, logFormat: "json", slots: 3, maxTasksPerIsolate: 100 }),
    });
    expect(config).toMatchObject({
      node: { graceMs: 90_000 },
      calls: { expiresMs: 500 },
      http: { maxBodyBytes: 2 ** 20 },
      log: { level: "warning", format: "json" },
      worker: { lookAhead: "auto", slots: 3, maxTasksPerIsolate: 100 },
    });
  });

  test("a bare number of a duration is seconds", () => {
    expect(loadMode("work", { grace: ["25"] }).node.graceMs).toBe(25_000);
    expect(loadMode("work", {}, inFile({ grace: 0.5 })).node.graceMs).toBe(500);
  });

  test("lists by repeated flags, in a variable, as an array or a text of the file", () => {
    const taskPaths = ["/here/a", "/b"];
    expect(loadMode("work", { tasks: ["a", "/b"] }).worker.taskPaths).toEqual(taskPaths);
    expect(loadMode("work", {}, { env: { COX_TASKS: "a:/b" } }).worker.taskPaths)
      .toEqual(taskPaths);
    expect(loadMode("work", {}, inFile({ tasks: taskPaths })).worker.taskPaths).toEqual(taskPaths);
    for (
      const config of [
        loadMode("work", { queues: ["x, y", "x"] }),
        loadMode("work", {}, { env: { COX_QUEUES: "x,y" } }),
        loadMode("work", {}, inFile({ queues: ["x", "y"] })),
        loadMode("work", {}, inFile({ queues: "x,y" })),
      ]
    ) expect(config.worker.queues).toEqual(["x", "y"]);
  });

  test("a path in the file starts from the file's folder", () => {
    const files = { "/etc/cox/site.json": '{"tasks": ["tasks"], "data": "../data"}' };
    const config = loadMode("all", {}, { env: { COX_CONFIG: "/etc/cox/site.json" }, files });
    expect(config.worker.taskPaths).toEqual(["/etc/cox/tasks"]);
    expect(config.broker).toEqual({ kind: "embedded", dataDir: "/etc/data" });
  });

  test("options of one call", () => {
    const config = loadMode("call", {
      timeout: ["3s"],
      expires: ["2"],
      priority: ["9"],
      queue: ["slow"],
      header: ["X-User: 7", "x-empty:"],
      json: true,
      url: ["http://front:1/"],
      token: ["abc"],
    });
    expect(config.options).toEqual({
      timeoutMs: 3_000,
      expiresMs: 2_000,
      priority: 9,
      queue: "slow",
      headers: { "x-user": "7", "x-empty": "" },
    });
    expect(config).toMatchObject({
      json: true,
      target: { kind: "front", url: "http://front:1", token: "abc" },
    });
  });
});

describe("loadConfig() reads exchanges", () => {
  const read = [
    { name: "orders", type: "topic", durable: true },
    { name: "logs", type: "fanout", durable: false },
  ] as const;
  const given = { orders: "topic", logs: { type: "fanout", durable: false } };

  test("from the file, a variable or a flag", () => {
    for (
      const config of [
        loadMode("all", {}, inFile({ exchanges: given })),
        loadMode("serve", {}, { env: { COX_EXCHANGES: JSON.stringify(given) } }),
        loadMode("work", { exchanges: [JSON.stringify(given)] }),
      ]
    ) expect(config.exchanges).toEqual(read);
    expect(loadMode("work", {}).exchanges).toEqual([]);
  });

  test("and tells all that is wrong with them at once", () => {
    const exchanges = {
      "": "topic",
      "cox.nodes": "topic",
      "amq.x": "fanout",
      "reply.x": "fanout",
      celeryev: "topic",
      a: "",
      b: { type: "topik", durable: "yes", auto: 1 },
      c: {},
      d: 7,
    };
    expect(problems("all", {}, inFile({ exchanges, port: "x" }))).toEqual([
      expect.stringMatching(/^coxswain\.json: port = x: expected/),
      'coxswain.json: exchanges[""]: the name must not be empty',
      expect.stringMatching(/^coxswain\.json: exchanges\["cox\.nodes"\]: the name is reserved/),
      expect.stringMatching(/^coxswain\.json: exchanges\["amq\.x"\]: the name is reserved/),
      expect.stringMatching(/^coxswain\.json: exchanges\["reply\.x"\]: the name is reserved/),
      expect.stringMatching(/^coxswain\.json: exchanges\.celeryev: the name is reserved/),
      'coxswain.json: exchanges.a = "": expected one of "fanout", "topic", "direct", "headers"',
      'coxswain.json: exchanges.b.type = "topik": expected one of "fanout", "topic", "direct", ' +
      '"headers"',
      'coxswain.json: exchanges.b.durable = "yes": expected true or false',
      "coxswain.json: exchanges.b.auto: no such member: there are type, durable",
      'coxswain.json: exchanges.c.type: expected one of "fanout", "topic", "direct", "headers"',
      'coxswain.json: exchanges.d = 7: expected one of "fanout", "topic", "direct", "headers"',
    ]);
  });

  test("and names the place in a variable or a flag", () => {
    expect(problems("all", {}, { env: { COX_EXCHANGES: '{"a": "x"}' } })).toEqual([
      'COX_EXCHANGES="x": a: expected one of "fanout", "topic", "direct", "headers"',
    ]);
    expect(problems("all", { exchanges: ["orders:topic"] })).toEqual([
      '--exchanges orders:topic: expected an object of names and types such as {"orders": "topic"}',
    ]);
    expect(problems("all", {}, inFile({ exchanges: ["a"] }))).toEqual([
      'coxswain.json: exchanges: expected an object of names and types such as {"orders": "topic"}',
    ]);
  });
});

describe("loadConfig() picks the broker", () => {
  const url = "amqp://rabbit.example:1/v";

  test("all uses the RabbitMQ that a flag, a variable or the file names", () => {
    for (
      const config of [
        loadMode("all", { amqpUrl: [url] }),
        loadMode("all", {}, { env: { COX_AMQP_URL: url } }),
        loadMode("all", {}, inFile({ amqpUrl: url })),
      ]
    ) expect(config.broker).toMatchObject({ kind: "amqp", url });
  });

  test("the parts are another way to write the URL", () => {
    const parts = {
      mqHost: ["mq"],
      mqPort: ["5673"],
      mqUser: ["a b"],
      mqPassword: ["p@ss/word"],
      mqVhost: ["/"],
    };
    const config = loadMode("work", parts);
    expect(config.broker.url).toBe("amqp://a%20b:p%40ss%2Fword@mq:5673/%2F");
    expect(config.log.secrets).toEqual(["p%40ss%2Fword", "p@ss/word"]);
    expect(loadMode("work", { mqHost: ["::1"] }).broker.url).toBe("amqp://[::1]:5672");
    expect(loadMode("work", { mqUser: ["u"] }).broker.url).toBe("amqp://u@localhost:5672");
  });

  test("both ways at once are a problem, from whichever source", () => {
    expect(problems("work", { mqHost: ["mq"] }, { env: { COX_AMQP_URL: url } })).toEqual([
      "--amqp-url and --mq-host both say which broker to use: give one of the two ways",
    ]);
  });

  test("TLS files come as their content", () => {
    const pem = "-----BEGIN CERTIFICATE-----\n";
    const files = { "/here/ca.pem": pem, "/here/c.pem": pem, "/here/k.pem": pem };
    const flags = { amqpCa: ["ca.pem"], amqpCert: ["c.pem"], amqpKey: ["k.pem"] };
    expect(loadMode("serve", { ...flags, amqpUrl: ["amqps://mq"] }, { files }).broker.tls)
      .toEqual({ ca: pem, cert: pem, key: pem });
  });

  test("TLS files that cannot be used are problems", () => {
    const files = { "/here/ca.pem": "not one" };
    const amqpUrl = ["amqps://mq"];
    expect(problems("serve", { amqpUrl, amqpCa: ["ca.pem"] }, { files })).toEqual([
      "--amqp-ca /here/ca.pem: expected a file in PEM form (-----BEGIN …)",
    ]);
    expect(problems("serve", { amqpUrl, amqpCa: ["none.pem"] })).toEqual([
      "--amqp-ca /here/none.pem: cannot read the file: there is none",
    ]);
    expect(problems("serve", { amqpUrl, amqpCert: ["ca.pem"] }, { files })[0])
      .toBe("--amqp-cert and --amqp-key need each other");
    expect(problems("serve", { amqpUrl: ["amqp://mq"], amqpCa: ["ca.pem"] }, { files })[0])
      .toBe("--amqp-ca needs an --amqp-url of amqps://");
    expect(problems("all", { amqpCa: ["ca.pem"] }, { files })).toEqual([
      "--amqp-ca without --amqp-url: which broker is meant?",
    ]);
  });

  test("the embedded broker has no quorum queues", () => {
    expect(problems("all", { queueType: ["quorum"] })[0]).toContain("no quorum queues");
    expect(loadMode("all", { queueType: ["quorum"], amqpUrl: [url] }).broker)
      .toMatchObject({ queueType: "quorum" });
  });

  test("a call goes over a broker that is named, unless a flag names a front", () => {
    const env = { COX_AMQP_URL: url };
    expect(loadMode("call", {}, { env }).target).toMatchObject({
      kind: "broker",
      broker: { url, connectTimeoutMs: 5_000 },
    });
    expect(loadMode("call", { url: ["http://front"] }, { env }).target.kind).toBe("front");
    expect(problems("call", { url: ["http://front"], amqpUrl: [url] })).toEqual([
      "--url and a broker: give one place to ask",
    ]);
  });
});

describe("loadConfig() guards the door", () => {
  test("another address than loopback needs a token or --insecure", () => {
    for (const host of ["0.0.0.0", "::", "10.0.0.7", "example.org", "127.0.0.1.example.org"]) {
      expect(problems("serve", { host: [host] })).toEqual([
        `--host ${host} lets other machines in: give a --token, or --insecure if that is wanted`,
      ]);
      expect(problems("serve", { host: [host], token: ["t"] })).toEqual([]);
      expect(problems("serve", { host: [host], insecure: true })).toEqual([]);
    }
  });

  test("loopback needs none", () => {
    for (const host of ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"]) {
      expect(problems("serve", { host: [host] })).toEqual([]);
    }
    expect(loadMode("serve", { host: ["[::1]"] }).http.host).toBe("::1");
  });

  test("tokens come from files too, without their line end", () => {
    const files = { "/here/t": "secret-token\n", "/here/r": "read-token\n" };
    const config = loadMode("serve", { tokenFile: ["t"], readTokenFile: ["r"] }, { files });
    expect(config.http).toMatchObject({ token: "secret-token", readToken: "read-token" });
    expect(config.log.secrets).toEqual(["secret-token", "read-token"]);
  });

  test("a blank, missing or doubled token file is one problem, and no token is made of it", () => {
    const files = { "/here/blank": " \n" };
    expect(problems("serve", { host: ["0.0.0.0"], tokenFile: ["blank"] }, { files })).toEqual([
      "--token-file /here/blank: expected a file that holds a token that is not blank, " +
      "of visible ASCII characters without spaces",
    ]);
    expect(problems("serve", { host: ["0.0.0.0"], tokenFile: ["none"] })).toEqual([
      "--token-file /here/none: cannot read the file: there is none",
    ]);
    expect(problems("serve", { token: ["t"], tokenFile: ["blank"] }, { files })).toEqual([
      "--token and --token-file: give one of the two",
    ]);
  });

  test("a token's flag goes before its file's variable", () => {
    const sources = { env: { COX_TOKEN_FILE: "t" }, files: { "/here/t": "of-file" } };
    expect(loadMode("call", { token: ["of-flag"] }, sources).target)
      .toMatchObject({ token: "of-flag" });
    expect(loadMode("call", {}, sources).target).toMatchObject({ token: "of-file" });
  });

  test("a read token alone, or the same as the token, is refused", () => {
    expect(problems("serve", { readToken: ["r"] })).toEqual([
      "--read-token without --token would leave everything but reading open: give both",
    ]);
    expect(problems("serve", { readToken: ["same"], token: ["same"] })).toEqual([
      "--read-token and --token must not be the same",
    ]);
  });

  test("a health port beyond loopback needs --insecure", () => {
    expect(loadMode("work", { healthPort: ["0"] }).health).toEqual({ host: "127.0.0.1", port: 0 });
    const flags = { healthPort: ["8889"], healthHost: ["0.0.0.0"] };
    expect(problems("work", flags)[0]).toContain("--health-host 0.0.0.0 lets other machines in");
    expect(loadMode("work", { ...flags, insecure: true }).health)
      .toEqual({ host: "0.0.0.0", port: 8889 });
  });
});

describe("loadConfig() reports problems", () => {
  test("all of them together, each with where it came from", () => {
    expect(problems("all", { port: ["70000"], isolates: ["many"] }, {
      env: { COX_GRACE: "soon", COX_PROT: "1", COX_INSECURE: "perhaps" },
      ...inFile({ slots: 0, prot: 1, queues: 5, demo: "x", config: "y", timeout: "3s" }),
    })).toEqual([
      'COX_PROT: no such variable; did you mean "COX_PORT"?',
      'coxswain.json: prot: no such setting; did you mean "port"?',
      "coxswain.json: queues = 5: expected an array of texts",
      'coxswain.json: demo = "x": expected true or false',
      "coxswain.json: config: no such setting",
      "coxswain.json: timeout: no such setting",
      "--port 70000: expected a whole number from 0 to 65535",
      "COX_INSECURE=perhaps: expected true or false",
      "--isolates many: expected a whole number from 1 to 1024",
      "coxswain.json: slots = 0: expected a whole number from 1 to 10000",
      'COX_GRACE=soon: expected a duration such as "500ms", "3s" or "2m" ' +
      "(a bare number is seconds)",
    ]);
  });

  test("a flag without a meaning in the command is refused, a variable is not", () => {
    expect(problems("serve", { isolates: ["4"], timeout: ["3s"] })).toEqual([
      "--timeout: has no meaning for serve; it belongs to call, job, bench",
      "--isolates: has no meaning for serve; it belongs to all, work",
    ]);
    expect(problems("serve", {}, { env: { COX_ISOLATES: "4" }, ...inFile({ slots: 2 }) }))
      .toEqual([]);
  });

  test("a flag given twice is refused, but for lists", () => {
    expect(problems("all", { port: ["1", "2"] })).toEqual(["--port: given 2 times, expected once"]);
  });

  test("a file that is named and not there, not JSON, or no object", () => {
    expect(problems("all", { config: ["no.json"] })).toEqual([
      "no.json: cannot read the file of settings: there is none",
    ]);
    expect(problems("all", {}, { files: { "/here/coxswain.json": "{port: 1}" } })[0])
      .toStartWith("coxswain.json: not JSON: ");
    expect(problems("all", {}, inFile([1]))).toEqual([
      'coxswain.json: expected a JSON object, such as {"port": 8888}',
    ]);
  });

  test("secrets are not shown, nor passwords in URLs, nor control characters", () => {
    const shown = problems("serve", {
      token: ["two words"],
      amqpUrl: ["http://user:hush@host"],
      host: ["a\u001b[31m b"],
    }).join("\n");
    expect(shown).not.toContain("two words");
    expect(shown).not.toContain("hush");
    expect(shown).not.toContain("\u001b");
    expect(problems("all", {}, inFile({ token: ["array-secret"] })).join()).not.toContain("array");
  });

  test("a value that cannot be read causes no second problem", () => {
    expect(problems("serve", { host: ["0.0.0.0"], token: [" "] })).toHaveLength(1);
    expect(problems("serve", { amqpUrl: ["nonsense"], mqHost: ["x"] })).toHaveLength(1);
  });

  test("more slots than a broker can hold messages for", () => {
    expect(problems("work", { isolates: ["1000"], slots: ["1000"] })).toEqual([
      "1000 isolates with 1000 slots each: at most 50000 slots in all are possible",
    ]);
  });
});

describe("loadConfig() reads routes", () => {
  test("in their order, from the file, a variable or a flag", () => {
    const routes = [
      { pattern: "reports.daily", queue: "fast" },
      { pattern: "reports.*", queue: "celery" },
    ];
    const given = { "reports.daily": "fast", "reports.*": { queue: "celery" } };
    const text = JSON.stringify(given);
    expect(loadMode("all", {}, inFile({ routes: given })).routes).toEqual(routes);
    expect(loadMode("serve", {}, { env: { COX_ROUTES: text } }).routes).toEqual(routes);
    expect(loadMode("work", { routes: [text] }).routes).toEqual(routes);
    expect(loadMode("call", { routes: [text] }).routes).toEqual(routes);
    expect(loadMode("serve", {}).routes).toEqual([]);
  });

  test("and tells all that is wrong with them at once", () => {
    const routes = {
      "": "celery",
      a: "",
      b: { queue: "cox.recorder" },
      c: { queue: "celery", exchange: "x" },
      d: {},
      e: 7,
    };
    expect(problems("all", {}, inFile({ routes, port: "x" }))).toEqual([
      expect.stringMatching(/^coxswain\.json: port = x: expected/),
      'coxswain.json: routes[""]: the pattern must not be empty',
      'coxswain.json: routes.a = "": the queue must not be empty',
      expect.stringMatching(
        /^coxswain\.json: routes\.b\.queue = "cox\.recorder": the queue is res/,
      ),
      "coxswain.json: routes.c.exchange: no such member: there is queue",
      "coxswain.json: routes.d.queue: the queue must be the name of a queue, a text",
      "coxswain.json: routes.e = 7: the queue must be the name of a queue, a text",
    ]);
    expect(problems("serve", {}, inFile({ routes: ["a"] }))).toEqual([
      "coxswain.json: routes: expected an object of patterns and queues such as " +
      '{"reports.*": {"queue": "celery"}}',
    ]);
  });
});
