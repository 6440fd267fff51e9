/**
 * The soak as a scenario: everything at once for a long time, with random kills, while the processes that
 * are not killed are watched for what they hold.
 */
import { freePorts } from "../../services/ports.ts";
import { DeviceCrowd } from "../device_crowd.ts";
import { handles, residentBytes, threads } from "../process_figures.ts";
import type { Scenario } from "../scenario.ts";
import type { Trial } from "../trial.ts";
import { MIXED_TASKS, MixedLoad } from "./mixed_load.ts";
import { FIGURES, growth, type Sample, shown } from "./samples.ts";

const SAMPLE_EVERY_MS = 5_000;
const ROW_EVERY_MS = 30_000;
/** Of the whole time. */
const WARM_UP_SHARE = 0.25;
/** Between two faults. */
const PAUSE_MS = { least: 8_000, most: 25_000 };
const HOST = "127.0.0.1";
const DEVICES = 20;
const KEPT_RESULTS = "1m";
const BROKER_DEAD_MS = 1_000;
const SUSPENDED_MS = 3_000;

export const soak: Scenario = {
  name: "soak",
  does: "calls, jobs, messages, channels and devices for a long time, with random kills",
  promise: "memory, handles and threads at the end are those after the warm-up, within 10 %",
  disturbsBroker: true,
  async run(trial) {
    trial.addTasks("mixed", MIXED_TASKS);
    const amqpUrl = await trial.amqpUrl();
    const rabbit = await trial.rabbit();
    const vhost = decodeURIComponent(new URL(amqpUrl).pathname.slice(1));
    // Else the records, and with them the store's cache, grow until they are a week old.
    const [devicePort = 0] = await freePorts(1);
    const devices = ["--device-port", `${devicePort}`];
    await trial.front(amqpUrl, ["--keep-results", KEPT_RESULTS, ...devices]);
    trial.forgetsFinished();
    trial.leavesRunsUntold();
    trial.worker(amqpUrl, ["--isolates", "2", "--slots", "4"]);
    const victim = trial.worker(amqpUrl);
    const startedAt = performance.now();
    await trial.beginLoad();
    const mixed = new MixedLoad(
      trial.url,
      trial.stack.use(new DeviceCrowd(HOST, devicePort, DEVICES)),
    );
    mixed.start();
    trial.stack.defer(() => mixed.stop());
    const samples: Sample[] = [];
    const watching = watch(trial, startedAt, samples);
    trial.stack.defer(() => clearInterval(watching));

    const faults: readonly (readonly [what: string, run: () => void | Promise<void>])[] = [
      ["kill -9 of the second worker", () => victim.kill()],
      ["SIGTERM to the second worker", () => victim.signal("SIGTERM")],
      ["SIGSTOP of the second worker", async () => {
        victim.signal("SIGSTOP");
        await Bun.sleep(SUSPENDED_MS);
        victim.signal("SIGCONT");
      }],
      ["all connections are closed by the broker", async () => {
        await rabbit.command("close_all_connections", "-p", vhost, "a fault run");
      }],
      ["kill -9 of the broker", async () => {
        await rabbit.kill();
        await Bun.sleep(BROKER_DEAD_MS);
        await rabbit.start();
      }],
    ];
    while (performance.now() - startedAt < trial.durationMs) {
      await trial.awhile(PAUSE_MS.least, PAUSE_MS.most);
      const [what, run] = trial.random.pick(faults);
      trial.fault(what);
      await run();
    }
    await trial.recovers();
    // The end is measured under the same load, with nothing broken.
    await Bun.sleep((1 - WARM_UP_SHARE) * trial.durationMs / 6);
    clearInterval(watching);
    for (const [kind, times] of mixed.done) trial.figure(kind, times);
    report(trial, samples);
    await mixed.stop();
  },
};

/** Takes samples of every node, and prints a row now and then. */
function watch(trial: Trial, startedAt: number, samples: Sample[]) {
  let nextRowAt = 0;
  return setInterval(() => {
    const atMs = performance.now() - startedAt;
    const now = trial.nodes.map(({ name, pid }): Sample => ({
      atMs,
      node: name,
      pid,
      rssBytes: residentBytes(pid),
      handles: handles(pid),
      threads: threads(pid),
    }));
    samples.push(...now.filter(({ rssBytes }) => rssBytes > 0));
    if (atMs < nextRowAt) return;
    nextRowAt = atMs + ROW_EVERY_MS;
    const cells = now.map((sample) =>
      `${sample.node} ${FIGURES.map((figure) => shown(figure, sample[figure])).join(" / ")}`
    );
    trial.say(`${String(Math.round(atMs / 1_000)).padStart(5)} s  ${cells.join("   ")}`);
  }, SAMPLE_EVERY_MS);
}

function report(trial: Trial, samples: readonly Sample[]): void {
  for (
    const { node, figure, warm, end, isLevel } of growth(samples, WARM_UP_SHARE * trial.durationMs)
  ) {
    const seen = `${shown(figure, warm)} after the warm-up, ${shown(figure, end)} at the end`;
    trial.check(`${figure} of ${node} stays level`, isLevel, seen);
    trial.say(`${figure} of ${node}: ${seen}`);
  }
}
