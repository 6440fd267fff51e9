/**
 * RabbitMQ raises its alarms: it takes nothing more from connections that publish (connection.blocked)
 * until there is memory, or disk, again.
 */
import { count } from "../ledger.ts";
import type { Scenario } from "../scenario.ts";
import { becomes, readJson } from "../waiting.ts";

const ALARMS = [
  {
    what: "memory",
    raise: ["set_vm_memory_high_watermark", "0.0000001"],
    clear: ["set_vm_memory_high_watermark", "absolute", "2GB"],
  },
  {
    what: "disk",
    raise: ["set_disk_free_limit", "100000000000000"],
    clear: ["set_disk_free_limit", "10MB"],
  },
] as const;
const HELD_MS = 2_500;

export const alarms: Scenario = {
  name: "alarms",
  does: "RabbitMQ's memory alarm, then its disk alarm, blocks whoever publishes",
  promise: "503 with Retry-After meanwhile, acks go on, and all is well after it",
  disturbsBroker: true,
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    trial.stack.defer(async () => {
      for (const { clear } of ALARMS) await rabbit.command(...clear);
    });
    await trial.front(amqpUrl);
    trial.worker(amqpUrl);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    await trial.rounds(ALARMS.length, async (round) => {
      const alarm = ALARMS[round % ALARMS.length];
      if (alarm === undefined) return;
      const { what, raise, clear } = alarm;
      trial.fault(`RabbitMQ's ${what} alarm`);
      await rabbit.command(...raise);
      let told = "";
      const isTold = await becomes(async () => {
        told = JSON.stringify(await readJson(`${trial.url}/readyz`)) ?? "";
        return told.includes("blocked") || told.includes("takes no messages");
      }, 5_000);
      trial.check(`readiness tells of the ${what} alarm`, isTold, told);
      const from = trial.ledger.calls.length;
      await Bun.sleep(HELD_MS);
      const slow = trial.ledger.calls.slice(from).filter(({ status, tookMs }) =>
        status === 503 && tookMs > 1_000
      );
      const endings = count(trial.ledger.calls.slice(from).map(({ status }) => String(status)));
      trial.say(`calls meanwhile: ${JSON.stringify(endings)}`);
      trial.check("calls are refused at once meanwhile", slow.length <= 16, String(slow.length));
      await rabbit.command(...clear);
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, endings.join(" "));
    }
  },
};
