/** Periodic callbacks of task files: the heartbeat says when, real isolates run them. */
import { expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import { createPool, type TaskLogLine } from "../../src/isolates/pool.ts";
import { PeriodicCallbacks } from "../../src/worker/periodic.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { makeFolder } from "../support/folders.ts";
import { ENTRY_URL, request, SELF_COMMAND } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

const SOURCE = `import { context, heartbeat, task } from "coxswain";
heartbeat.register(() => context.log.info("well"), "2s");
heartbeat.register(() => { throw new TypeError("bang"); }, "1s");
heartbeat.register(() => { context.log.info("hangs"); return new Promise(() => {}); }, "1s",
  { timeout: "300ms" });
task("end", (id) => heartbeat.unregister(id));
task("count", () => heartbeat.count);
`;

test("callbacks run in isolates when they are due, one at a time, with a limit", async () => {
  const logged: LogRecord[] = [];
  await configure({
    sinks: { kept: (record) => logged.push(record) },
    loggers: [
      { category: ["coxswain", "heartbeat"], sinks: ["kept"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
    reset: true,
  });
  await using folder = await makeFolder({ "tasks.ts": SOURCE });
  const clock = new FakeClock();
  const heartbeat = new Heartbeat({ clock });
  const periodic = new PeriodicCallbacks(heartbeat);
  const lines: TaskLogLine[] = [];
  const pool = createPool({
    entryUrl: ENTRY_URL,
    selfCommand: SELF_COMMAND,
    taskPaths: [folder.path],
    demo: false,
    isolates: 3,
    nodeId: "n",
    onLog: (line) => lines.push(line),
    asks: periodic.asks,
  });
  const said = (message: string) => lines.filter((line) => line.message === message).length;
  const isQuiet = () => pool.stats.running + pool.stats.waiting === 0;
  try {
    const definitions = await pool.start();
    periodic.register(pool, definitions.periodic);
    await heartbeat.start();
    clock.advance(1_000);
    await until("the hanging one runs", () => said("hangs") === 1);
    // It is due again while it still runs.
    clock.advance(1_000);
    await until("the other one has run", () => said("well") === 1);
    await until("the hanging one is killed", isQuiet);
    expect(said("hangs")).toBe(1);
    clock.advance(1_000);
    await until("it is called on", () => said("hangs") === 2);
    await until("it is killed again", isQuiet);
    const failures = logged.filter(({ level }) => level === "error");
    expect(failures.map(({ properties }) => [properties.callback, String(properties.error)]))
      .toEqual([
        [
          "callback-2",
          `PeriodicError: The callback in ${folder.file("tasks.ts")}: TypeError: bang`,
        ],
        [
          "callback-3",
          `PeriodicError: The callback in ${folder.file("tasks.ts")}: ` +
          "it ran past its limit of 300ms and was killed",
        ],
      ]);

    const end = (id: string) => pool.run(request("end", [id]));
    expect(await end("callback-3")).toMatchObject({ resultJson: "true" });
    expect(await end("callback-3")).toMatchObject({ resultJson: "false" });
    heartbeat.register(() => undefined, "1s", "beacon");
    expect(await end("beacon")).toMatchObject({ resultJson: "false" });
    clock.advance(1_000);
    await until("the other one has run again", () => said("well") === 2);
    await until("all is over", isQuiet);
    expect(said("hangs")).toBe(2);
    expect(await pool.run(request("count", []))).toMatchObject({ resultJson: "4" });
  } finally {
    await heartbeat.stop();
    await pool.stop(AbortSignal.abort());
    await reset();
  }
}, 30_000);
