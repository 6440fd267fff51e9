/** The broker dies without a word and comes back on the same folder, while load goes on. */
import type { Scenario } from "../scenario.ts";

export const brokerKill: Scenario = {
  name: "broker-kill",
  does: "RabbitMQ is killed (-9) and restarted under load, and restarted in good order",
  promise: "a job that was accepted is never lost; the program goes on without a restart",
  disturbsBroker: true,
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    await trial.front(amqpUrl);
    trial.worker(amqpUrl);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    await trial.rounds(1, async (round) => {
      const isKill = round % 3 < 2;
      trial.fault(isKill ? "kill -9 of the broker" : "the broker is stopped");
      await (isKill ? rabbit.kill() : rabbit.stop());
      await trial.awhile(0, 2_000);
      await rabbit.start();
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, `${endings.length} ends`);
    }
  },
};
