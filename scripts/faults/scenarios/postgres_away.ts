/** The database of the records dies without a word, stays away for a while and comes back. */
import { startPostgres } from "../../services/postgres.ts";
import type { Scenario } from "../scenario.ts";

const AWAY_MS = 3_000;

export const postgresAway: Scenario = {
  name: "postgres-away",
  does: "PostgreSQL is killed (-9) and comes back, while two fronts record in it",
  promise: "jobs are accepted and run while the store is away, and recorded when it is back",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    const postgres = await startPostgres();
    trial.stack.defer(() => postgres.dispose());
    const store = ["--store", postgres.url];
    await trial.front(amqpUrl, store);
    await trial.front(amqpUrl, store);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    await trial.rounds(1, async (round) => {
      const isKill = round % 2 === 0;
      trial.fault(isKill ? "kill -9 of PostgreSQL" : "PostgreSQL is stopped");
      await (isKill ? postgres.kill() : postgres.stop());
      const acceptedBefore = trial.ledger.accepted.size;
      const callsBefore = trial.ledger.calls.length;
      await Bun.sleep(AWAY_MS);
      const accepted = trial.ledger.accepted.size - acceptedBefore;
      trial.check("jobs are accepted meanwhile", accepted > 0, String(accepted));
      const others = trial.ledger.calls.slice(callsBefore).filter(({ status }) => status !== 200);
      trial.check("calls are answered meanwhile", others.length === 0, String(others.length));
      await postgres.start();
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, endings.join(" "));
    }
  },
};
