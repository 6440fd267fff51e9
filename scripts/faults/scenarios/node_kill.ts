/** Nodes die without a word, a worker each second and the front now and then, while load goes on. */
import type { Scenario } from "../scenario.ts";

export const nodeKill: Scenario = {
  name: "node-kill",
  does: "workers and the front are killed (-9) one after the other under load",
  promise: "a job that was accepted is never lost; a run again is marked",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    const front = await trial.front(amqpUrl);
    const workers = [1, 2, 3].map(() => trial.worker(amqpUrl));
    trial.sparesNoFront();
    trial.leavesRunsUntold();
    await trial.beginLoad();
    await trial.rounds(3, (round) => {
      const isFront = round % 3 === 1;
      const node = isFront ? front : trial.random.pick(workers);
      trial.fault(`kill -9 of ${node.name}`);
      node.kill();
    });
    await trial.recovers();
  },
};

export const allInOneKill: Scenario = {
  name: "all-in-one-kill",
  does: "the one process with its broker and store inside is killed (-9) again and again",
  promise: "a job that was accepted is on disk",
  async run(trial) {
    const node = await trial.allInOne();
    trial.sparesNoFront();
    trial.leavesRunsUntold();
    await trial.beginLoad();
    await trial.rounds(2, async () => {
      trial.fault("kill -9 of the one process");
      node.kill();
      await trial.recovers();
    });
  },
};
