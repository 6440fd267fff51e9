/** Devices and the front that holds them are cut off from each other, and commands go on. */
import { freePorts } from "../../services/ports.ts";
import { DeviceCrowd } from "../device_crowd.ts";
import { openDeadLine } from "../dead_line.ts";
import { count } from "../ledger.ts";
import type { Scenario } from "../scenario.ts";
import type { Trial } from "../trial.ts";
import { becomes, readJson } from "../waiting.ts";

const DEVICES = 20;
const KNOWN_LIMIT_MS = 30_000;
/** A front notices a silent device after this. */
const IDLE_MS = 3_000;
const COMMANDS = 40;

interface Sent {
  readonly line: string;
  readonly status: number;
}

export const devicesFrontKill: Scenario = {
  name: "devices-front-kill",
  does: "the front that holds devices is killed (-9) while another one commands them",
  promise: "a command is written once at most and answered; devices that come back are found",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    const [devicePort = 0] = await freePorts(1);
    const holder = await trial.front(amqpUrl, [
      ...["--device-port", `${devicePort}`, "--no-recorder"],
    ]);
    await trial.front(amqpUrl);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    const crowd = trial.stack.use(new DeviceCrowd("127.0.0.1", devicePort, DEVICES));
    const sent: Sent[] = [];
    await allKnown(trial, crowd);
    await trial.rounds(1, async () => {
      const sending = command(trial, crowd, sent);
      await Bun.sleep(100);
      trial.fault("kill -9 of the front that holds the devices");
      holder.kill();
      await sending;
      await allKnown(trial, crowd);
    });
    await command(trial, crowd, sent);
    checkCommands(trial, crowd, sent);
  },
};

export const devicesHalfOpen: Scenario = {
  name: "devices-half-open",
  does: "packets between the devices and their front vanish, without a farewell",
  promise: "the front cuts who is silent, and knows them again when they come back",
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    // Where there is no namespace the proxy's line is the broker's alone: it knows no device.
    const line = trial.stack.use(await openDeadLine(rabbit));
    if (line.kind === "proxy") return trial.skip("no network namespace can be made here");
    const [devicePort = 0] = await freePorts(1);
    const address = line.brokerAddress.replace(/:\d+$/, "");
    await trial.front(amqpUrl, [
      ...["--device-port", `${devicePort}`, "--device-host", address, "--insecure"],
      ...["--device-idle", `${IDLE_MS}ms`],
    ]);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    const far = Bun.spawn(
      [...line.prefix, process.execPath, FAR_DEVICES, address, `${devicePort}`],
      {
        stdout: "ignore",
        stderr: "inherit",
      },
    );
    trial.stack.defer(async () => {
      far.kill("SIGKILL");
      await far.exited;
    });
    await trial.rounds(1, async () => {
      await held(trial, DEVICES, "the devices are known");
      trial.fault("nothing goes between the devices and their front any more");
      line.silence("toBroker", "toNode");
      await held(trial, 0, "silent devices are cut");
      line.carry();
    });
    await held(trial, DEVICES, "the devices are known again");
  },
};

const FAR_DEVICES = new URL("../far_devices.ts", import.meta.url).pathname;

async function held(trial: Trial, wanted: number, what: string): Promise<void> {
  let seen = -1;
  const isSo = await becomes(async () => {
    seen = (await knownIds(trial)).length;
    return seen === wanted;
  }, KNOWN_LIMIT_MS);
  trial.check(what, isSo, String(seen));
}

/** The front that is asked knows those devices that are connected, and no others. */
async function allKnown(trial: Trial, crowd: DeviceCrowd): Promise<void> {
  const isSo = await becomes(async () => {
    const known = await knownIds(trial);
    return crowd.ids.length === DEVICES && known.toSorted().join() === crowd.ids.toSorted().join();
  }, KNOWN_LIMIT_MS);
  trial.check("another front knows the devices that are there", isSo);
}

async function knownIds(trial: Trial): Promise<readonly string[]> {
  const list = await readJson(`${trial.url}/devices`);
  return Array.isArray(list) ? list.map(({ id }: { id?: unknown }) => String(id)) : [];
}

/** Each command has a line of its own. */
async function command(trial: Trial, crowd: DeviceCrowd, sent: Sent[]): Promise<void> {
  for (let n = 0; n < COMMANDS; n++) {
    const id = crowd.ids[n % Math.max(1, crowd.ids.length)];
    if (id === undefined) {
      await Bun.sleep(50);
      continue;
    }
    const line = `c${sent.length}`;
    const status = await fetch(`${trial.url}/devices/${id}/commands`, {
      method: "POST",
      body: JSON.stringify({ cmd: line }),
      signal: AbortSignal.timeout(30_000),
    }).then((response) => response.status, () => 0);
    sent.push({ line, status });
  }
}

function checkCommands(trial: Trial, crowd: DeviceCrowd, sent: readonly Sent[]): void {
  const times = count(crowd.heard);
  const twice = sent.filter(({ line }) => (times[line] ?? 0) > 1);
  const lost = sent.filter(({ line, status }) => status === 200 && times[line] === undefined);
  const silent = sent.filter(({ status }) => status === 0);
  const denied = sent.filter(({ line, status }) =>
    [404, 409, 503].includes(status) && times[line] !== undefined
  );
  trial.figure("commands", JSON.stringify(count(sent.map(({ status }) => String(status)))));
  trial.check("no command is written twice", twice.length === 0, String(twice.length));
  trial.check("every command is answered", silent.length === 0, String(silent.length));
  trial.check("none was written that was refused", denied.length === 0, String(denied.length));
  // One that was written just before the kill may have been lost with the connection.
  trial.figure("written and never heard", lost.length);
}
