/** Nodes are told to stop (SIGTERM), as at each deploy, and come back, while load goes on. */
import { count, endingName } from "../ledger.ts";
import type { Scenario } from "../scenario.ts";

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
      trial.fault(`SIGTERM to ${worker.name}`);
      worker.signal("SIGTERM");
      await worker.ended();
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
    trial.fault("SIGTERM to the front");
    front.signal("SIGTERM");
    await front.ended();
    await trial.recovers();
    for (const { name, ends } of trial.nodes) {
      trial.check(`${name} exits with 0`, ends.every((end) => end === "0"), ends.join(" "));
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
      trial.fault("SIGTERM to the one process");
      node.signal("SIGTERM");
      await node.ended();
      await trial.recovers();
    });
    trial.check("it exits with 0", node.ends.every((end) => end === "0"), node.ends.join(" "));
    const { repeated } = trial.ledger.account();
    trial.check("nothing runs twice", repeated === 0, String(repeated));
  },
};
