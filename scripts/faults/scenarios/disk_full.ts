/** The disk is full, to its last block, under the broker inside the program and under its records. */
import { join } from "node:path";
import { count } from "../ledger.ts";
import type { Scenario } from "../scenario.ts";
import { SmallDisk } from "../small_disk.ts";
import type { Trial } from "../trial.ts";
import { readJson } from "../waiting.ts";

const DISK_MEBIBYTES = 32;
/** How long it stays full. */
const FULL_MS = 3_000;

export const diskFull: Scenario = {
  name: "disk-full",
  does: "the disk of the one process's broker and records is full for a while",
  promise: "a job that was accepted is on disk; what cannot be kept is refused",
  async run(trial) {
    const disk = mounted(trial);
    if (disk === undefined) return;
    const node = await trial.allInOne(["--data", disk.path]);
    await trial.beginLoad();
    await trial.rounds(1, async (round) => {
      trial.fault("the disk is full");
      disk.fill();
      await Bun.sleep(FULL_MS / 2);
      disk.fill();
      await Bun.sleep(FULL_MS / 2);
      const { endings } = node;
      trial.check("it does not end of itself", !endings.includes("1"), endings.join(" "));
      const health = await fetch(`${trial.url}/healthz`).then(({ status }) => status, () => 0);
      trial.check("it is alive on a full disk", health === 200, `healthz ${health}`);
      if (round % 2 === 1) {
        trial.sparesNoFront();
        trial.fault("kill -9 of the process on the full disk");
        node.kill();
        await Bun.sleep(1_000);
      }
      disk.free();
      await trial.recovers();
      // After a kill its starts fail as long as there is no room.
      endings.length = 0;
    });
  },
};

export const diskFullRecords: Scenario = {
  name: "disk-full-records",
  does: "the disk of a front's records is full for a while, its RabbitMQ's is not",
  promise: "jobs are accepted and run while the store fails, and recorded when it does no more",
  async run(trial) {
    const disk = mounted(trial);
    if (disk === undefined) return;
    const amqpUrl = await trial.amqpUrl();
    const front = await trial.front(amqpUrl, ["--data", disk.path]);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    await trial.rounds(1, async () => {
      trial.fault("the disk of the records is full");
      disk.fill();
      const before = trial.ledger.calls.length;
      const acceptedBefore = trial.ledger.accepted.size;
      await Bun.sleep(FULL_MS / 2);
      disk.fill();
      await Bun.sleep(FULL_MS / 2);
      const accepted = trial.ledger.accepted.size - acceptedBefore;
      trial.check("jobs are accepted meanwhile", accepted > 0, String(accepted));
      const endings = trial.ledger.calls.slice(before).map(({ status }) => String(status));
      trial.check(
        "calls are answered meanwhile",
        endings.length > 0 && endings.every((status) => status === "200"),
        JSON.stringify(count(endings)),
      );
      disk.free();
      await trial.recovers();
    });
    trial.check("the front needed no restart", front.endings.length === 0, front.endings.join(" "));
    const recorder = JSON.stringify(await readJson(`${trial.url}/readyz`));
    trial.check("the front is ready in the end", recorder.includes('"ready"'), recorder);
  },
};

function mounted(trial: Trial): SmallDisk | undefined {
  const disk = SmallDisk.tryMount(join(trial.folder, "disk"), DISK_MEBIBYTES);
  if (disk === undefined) trial.skip("nothing may be mounted here");
  else trial.stack.use(disk);
  return disk;
}
