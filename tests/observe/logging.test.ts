import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { getLogger, reset } from "@logtape/logtape";
import { configureLogging, type LoggingOptions } from "../../src/observe/logging.ts";

/** Configures logging with the real sink and formatters, and keeps what would go to stderr. */
async function linesOf(
  options: Partial<LoggingOptions> & { readonly isTerminal?: boolean },
  log: (logger: ReturnType<typeof getLogger>) => void,
): Promise<string[]> {
  const lines: string[] = [];
  const { isTerminal = false, ...rest } = options;
  await configureLogging(
    { level: "info", format: "auto", secrets: [], ...rest },
    { isTerminal, write: (line) => lines.push(line) },
  );
  log(getLogger(["coxswain", "test"]));
  return lines;
}

const colors = process.env["NO_COLOR"];
afterEach(() => {
  if (colors === undefined) delete process.env["NO_COLOR"];
});
afterAll(() => reset());

describe("configureLogging() formats", () => {
  test("JSON lines where there is no terminal", async () => {
    const lines = await linesOf({}, (logger) => logger.info("Listening", { port: 8888, big: 1n }));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "INFO",
      message: "Listening",
      logger: "coxswain.test",
      fields: { port: 8888, big: "1" },
    });
  });

  test("one line an event on a terminal, with the fields that the message does not name", async () => {
    process.env["NO_COLOR"] = "1";
    const lines = await linesOf({ isTerminal: true }, (logger) => {
      logger.info("Listening on {url}", { url: "http://h", port: 1, name: "a b", list: [1] });
    });
    expect(lines.join("")).toMatch(
      /info +coxswain·test +Listening on 'http:\/\/h' {2}port=1 name="a b" list=\[1\]\n$/,
    );
  });

  test("an error's stack follows its line on a terminal", async () => {
    process.env["NO_COLOR"] = "1";
    const lines = await linesOf({ isTerminal: true }, (logger) => {
      logger.error("Failed", { error: new TypeError("no such thing") });
    });
    expect(lines.join("")).toMatch(/Failed {2}error="TypeError: no such thing"\n +TypeError: no/);
  });

  test("what is asked for goes before what stderr is", async () => {
    const json = await linesOf({ isTerminal: true, format: "json" }, (logger) => logger.info("x"));
    expect(json[0]).toStartWith("{");
    const pretty = await linesOf({ format: "pretty" }, (logger) => logger.info("x"));
    expect(pretty[0]).not.toStartWith("{");
  });

  test("nothing below the level", async () => {
    const lines = await linesOf({ level: "warning" }, (logger) => {
      logger.info("no");
      logger.warn("yes");
    });
    expect(lines).toHaveLength(1);
  });
});

describe.each(["json", "pretty"] as const)("configureLogging() redacts in %s:", (format) => {
  const secrets = ['of"config'];
  const written = async (log: (logger: ReturnType<typeof getLogger>) => void) =>
    (await linesOf({ format, secrets }, log)).join("");

  test("fields of secret names, however deep", async () => {
    const text = await written((logger) =>
      logger.info("Started", {
        password: "hush1",
        readToken: "hush2",
        nested: { list: [{ Authorization: "hush3" }], client_secret: "hush4" },
        map: new Map([["apiKey", "hush5"]]),
        headers: new Headers({ cookie: "hush6", accept: "kept" }),
        error: Object.assign(new Error("kept too"), { token: "hush7" }),
        tokenCount: 17,
      })
    );
    expect(text).not.toContain("hush");
    for (const kept of ["kept", "kept too", "17", "[redacted]"]) expect(text).toContain(kept);
  });

  test("values that the message names", async () => {
    const text = await written((logger) =>
      logger.info("Token {token} of {who.password}, {{token}}", {
        token: "hush1",
        who: { password: "hush2" },
      })
    );
    expect(text).not.toContain("hush");
    expect(text).toContain("{token}");
  });

  test("passwords in URLs and credentials in texts", async () => {
    const text = await written((logger) => {
      logger.info("Connecting to {url}", { url: "amqp://user:hush@host:5672/v" });
      logger.info("Connecting", { url: new URL("amqps://user:hush@host") });
      logger.info(`Raw amqp://:hush@host and amqp://u:hu@sh@host`);
      logger.warn("Refused", { error: new Error("GET with Authorization: Bearer hush.hush-hush") });
      logger.info`tagged ${"amqp://u:hush@h"}`;
    });
    expect(text).not.toContain("hush");
    expect(text).not.toContain("hu@sh");
    expect(text).toContain("user:[redacted]@host");
  });

  test("the very texts that the configuration holds as secrets", async () => {
    const text = await written((logger) => {
      logger.info('A text with of"config in it', { note: 'of"config' });
      logger.info("Encoded {url}", { url: `http://h/?t=${encodeURIComponent('of"config')}` });
      logger.error("Failed", { error: new Error('of"config', { cause: 'of"config' }) });
    });
    expect(text).not.toMatch(/of\\*"config|of%22config/);
  });

  test("structures that contain themselves, or have no end in sight", async () => {
    const circular: Record<string, unknown> = { name: "ring" };
    circular["self"] = circular;
    let deep: Record<string, unknown> = { token: "hush" };
    for (let level = 0; level < 50; level++) deep = { deep };
    const text = await written((logger) => logger.info("Odd", { circular, deep }));
    expect(text).toContain("circular");
    expect(text).not.toContain("hush");
  });
});
