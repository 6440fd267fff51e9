/**
 * The line between nodes and the broker dies without a word, in one direction or both, and comes back
 * later: connections stay open on either side, and nobody is told.
 */
import type { Direction } from "../amqp_proxy.ts";
import { openDeadLine } from "../dead_line.ts";
import type { Scenario } from "../scenario.ts";
import { becomes } from "../waiting.ts";

const WAYS: readonly (readonly Direction[])[] = [["toBroker", "toNode"], ["toNode"], ["toBroker"]];
const FAR_WORKER = "far-worker";
/** What is offered by the broker of short runs, and what a node asks for. */
const HEARTBEAT_MS = { short: 2_000, full: 20_000 };

export const halfOpen: Scenario = {
  name: "half-open",
  does: "packets between the front, a worker and RabbitMQ vanish for three heartbeats",
  promise: "the program sees that the broker is gone, and is whole within 5 s of its return",
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    const line = trial.stack.use(await openDeadLine(rabbit));
    trial.figure("line", line.kind);
    const farUrl = amqpUrl.replace(`127.0.0.1:${rabbit.port}`, line.brokerAddress);
    const at = { prefix: line.prefix };
    await trial.front(farUrl, ["--host", line.host, "--insecure"], at);
    trial.goTo(trial.url.replace("127.0.0.1", line.host));
    trial.worker(farUrl, ["--node-id", FAR_WORKER], at);
    trial.cutsOff(FAR_WORKER);
    trial.worker(amqpUrl);
    await trial.beginLoad();
    const heartbeatMs = trial.isShort ? HEARTBEAT_MS.short : HEARTBEAT_MS.full;
    const isReady = () => fetch(`${trial.url}/readyz`).then(({ ok }) => ok, () => false);
    await trial.rounds(1, async (round) => {
      const way = WAYS[round % WAYS.length] ?? [];
      trial.fault(`nothing goes ${way.join(" nor ")} any more (${line.kind})`);
      line.silence(...way);
      const silentAt = performance.now();
      const isSeen = await becomes(async () => !await isReady(), 4 * heartbeatMs);
      const seenMs = Math.round(performance.now() - silentAt);
      trial.check("readiness tells of it within three heartbeats", isSeen, `${seenMs} ms`);
      await Bun.sleep(Math.max(0, 3 * heartbeatMs - seenMs));
      line.carry();
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, `${endings.length} ends`);
    }
  },
};
