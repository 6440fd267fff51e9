/** Nodes are told to stop (SIGTERM), as at each deploy, and come back, while load goes on. */
import { count, endingName } from "../ledger.ts";
import type { KeptProcess } from "../kept_process.ts";
import type { Scenario } from "../scenario.ts";
import type { Trial } from "../trial.ts";
import { becomes } from "../waiting.ts";

/** The grace time, and what the end itself may take. */
const STOP_LIMIT_MS = 35_000;
/** Longer than it takes until its next life begins. */
const RESTART_MS = 300;
const START_LIMIT_MS = 30_000;

export const nodeTerm: Scenario = {
  name: "node-term",
  does: "workers one after the other, then the front, are told to stop (SIGTERM) under load",
  promise: "a node that stops finishes what runs, gives back the rest and exits with 0",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    const front = await trial.front(amqpUrl);
    const workers = [1, 2].map(() => trial.worker(amqpUrl));
    await trial.beginLoad();
    await trial.rounds(2, async (round) => {
      const worker = workers[round % workers.length];
      if (worker === undefined) return;
      await stops(trial, worker);
    });
    await trial.recovers();
    const endings = count(
      trial.ledger.calls.map(({ status, problem }) => endingName(status, problem)),
    );
    trial.check(
      "no call notices that workers come and go",
      Object.keys(endings).every((ending) => ending === "ok"),
      JSON.stringify(endings),
    );
    trial.sparesNoFront();
    await stops(trial, front);
    await trial.recovers();
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} exits with 0`, endings.every((end) => end === "0"), endings.join(" "));
    }
    const { repeated } = trial.ledger.account();
    trial.check("nothing runs twice", repeated === 0, String(repeated));
  },
};

export const allInOneTerm: Scenario = {
  name: "all-in-one-term",
  does: "the one process is told to stop (SIGTERM) and comes back",
  promise: "it finishes what runs, keeps the rest on disk and exits with 0",
  async run(trial) {
    const node = await trial.allInOne();
    trial.sparesNoFront();
    await trial.beginLoad();
    await trial.rounds(1, async () => {
      await stops(trial, node);
      await trial.recovers();
    });
    trial.check(
      "it exits with 0",
      node.endings.every((end) => end === "0"),
      node.endings.join(" "),
    );
    const { repeated } = trial.ledger.account();
    trial.check("nothing runs twice", repeated === 0, String(repeated));
  },
};

async function stops(trial: Trial, node: KeptProcess): Promise<void> {
  trial.fault(`SIGTERM to ${node.name}`);
  node.signal("SIGTERM");
  const hasEnded = await node.ends(STOP_LIMIT_MS);
  if (!hasEnded) trial.say(`${node.name} said: ${node.log.slice(-3_000)}`);
  trial.check(`${node.name} ends within its grace time`, hasEnded);
  // As a deploy does that replaces one after the other.
  await Bun.sleep(RESTART_MS);
  trial.check(`${node.name} comes back`, await becomes(() => node.isReady, START_LIMIT_MS));
}
