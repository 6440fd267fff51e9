/**
 * Nodes stop as if their machine had been suspended (SIGSTOP), long enough for the broker to give their
 * work to others, and go on later in the belief that they still have it.
 */
import type { KeptProcess } from "../kept_process.ts";
import type { Scenario } from "../scenario.ts";
import type { Trial } from "../trial.ts";

/** Longer than RabbitMQ waits for a silent node: three heartbeats. */
const STOPPED_MS = { short: 7_000, full: 65_000 };
/** The one process has nobody who would miss it. */
const ALONE_STOPPED_MS = 3_000;

export const nodeStop: Scenario = {
  name: "node-stop",
  does: "a worker, then the front, is suspended (SIGSTOP) for over three heartbeats",
  promise: "its jobs run elsewhere, marked; it goes on without a restart",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    const front = await trial.front(amqpUrl);
    const workers = [trial.worker(amqpUrl), trial.worker(amqpUrl)];
    trial.leavesRunsUntold();
    await trial.beginLoad();
    await trial.rounds(2, async (round) => {
      const isFront = round % 2 === 1;
      if (isFront) trial.sparesNoFront();
      const node = isFront ? front : trial.random.pick(workers);
      await suspend(trial, node, trial.isShort ? STOPPED_MS.short : STOPPED_MS.full);
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, endings.join(" "));
    }
  },
};

export const allInOneStop: Scenario = {
  name: "all-in-one-stop",
  does: "the one process is suspended (SIGSTOP)",
  promise: "it goes on where it was; what ran past its limit meanwhile has run past it",
  async run(trial) {
    const node = await trial.allInOne();
    trial.sparesNoFront();
    await trial.beginLoad();
    await trial.rounds(1, async () => {
      await suspend(trial, node, ALONE_STOPPED_MS);
      await trial.recovers();
    });
    trial.check("it needed no restart", node.endings.length === 0, node.endings.join(" "));
  },
};

async function suspend(trial: Trial, node: KeptProcess, stoppedMs: number): Promise<void> {
  trial.fault(`SIGSTOP of ${node.name}`);
  node.signal("SIGSTOP");
  await Bun.sleep(stoppedMs);
  node.signal("SIGCONT");
}
