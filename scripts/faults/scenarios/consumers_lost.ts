/** The broker takes consumers away from nodes whose connection stays: in three ways. */
import { AmqpProxy, methodFrame } from "../amqp_proxy.ts";
import type { Scenario } from "../scenario.ts";
import { RECOVERY_LIMIT_MS, type Trial } from "../trial.ts";
import { becomes, readJson } from "../waiting.ts";

/** Where the ledger's tasks are taken from. */
const QUEUE = "default";
/** Long enough that a channel's clock sees it, and as short as a test needs it. */
const ACK_TIMEOUT_MS = 2_000;
const USUAL_ACK_TIMEOUT_MS = 1_800_000;
const LONG_JOB_MS = 3_500;
const TICK_MS = 500;
const USUAL_TICK_MS = 60_000;

export const queueDeleted: Scenario = {
  name: "queue-deleted",
  does: "the queue that workers take calls from is deleted under them",
  promise: "a consumer lost on the server's side is restored within 5 s",
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    await trial.front(amqpUrl);
    trial.worker(amqpUrl);
    trial.worker(amqpUrl);
    // Jobs in a queue that somebody deletes are deleted with it: this is about calls.
    await trial.beginLoad({ jobsPerSecond: 0 });
    await trial.rounds(2, async () => {
      trial.fault(`the queue ${QUEUE} is deleted`);
      await rabbit.command(
        "delete_queue",
        "-p",
        decodeURIComponent(new URL(amqpUrl).pathname.slice(1)),
        QUEUE,
      );
      await trial.recovers();
    });
    await allConsume(trial);
  },
};

export const channelException: Scenario = {
  name: "channel-exception",
  does: "the broker closes channels on which nodes consume, with an exception",
  promise: "a consumer lost on the server's side is restored within 5 s; no job is lost",
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    const proxy = trial.stack.use(await AmqpProxy.listen(rabbit.port));
    const url = amqpUrl.replace(`:${rabbit.port}/`, `:${proxy.port}/`);
    await trial.front(url);
    trial.worker(url);
    trial.worker(url);
    await trial.beginLoad();
    await trial.rounds(3, async () => {
      const links = [...proxy.links].filter(({ consumingChannels }) => consumingChannels.size > 0);
      const link = trial.random.pick(links);
      const channel = trial.random.pick([...link.consumingChannels]);
      trial.fault(`an ack of a delivery that never was, on channel ${channel}`);
      // basic.ack of delivery 2^31: the broker answers with channel.close, 406.
      const args = Buffer.alloc(9);
      args.writeBigUInt64BE(2n ** 31n);
      link.broker.write(methodFrame(channel, 60, 80, args));
      await trial.recovers();
    });
    await allConsume(trial);
  },
};

export const ackTimeout: Scenario = {
  name: "ack-timeout",
  does: "consumer_timeout is set so low that long jobs outlive it",
  promise: "the consumer is restored, the job runs on or again, marked; none is lost",
  disturbsBroker: true,
  async run(trial) {
    const rabbit = await trial.rabbit();
    const set = (timeoutMs: number, tickMs: number) =>
      rabbit.command(
        "eval",
        `application:set_env(rabbit, consumer_timeout, ${timeoutMs}), ` +
          `application:set_env(rabbit, channel_tick_interval, ${tickMs}).`,
      );
    await set(ACK_TIMEOUT_MS, TICK_MS);
    trial.stack.defer(async () => {
      await set(USUAL_ACK_TIMEOUT_MS, USUAL_TICK_MS);
    });
    const amqpUrl = await trial.amqpUrl();
    await trial.front(amqpUrl);
    const workers = [trial.worker(amqpUrl), trial.worker(amqpUrl)];
    await trial.beginLoad({ jobsPerSecond: 10, longJobMs: LONG_JOB_MS });
    trial.fault(`a consumer_timeout of ${ACK_TIMEOUT_MS} ms, and jobs of ${LONG_JOB_MS} ms`);
    await Bun.sleep(Math.max(2 * LONG_JOB_MS, trial.durationMs));
    await set(USUAL_ACK_TIMEOUT_MS, USUAL_TICK_MS);
    await trial.recovers();
    const isMet = workers.some(({ log }) => /timeout|PRECONDITION/i.test(log));
    trial.check("a channel was closed for its timeout", isMet);
    await allConsume(trial);
  },
};

/** No node was started anew, and the queue has a consumer for each worker. */
async function allConsume(trial: Trial): Promise<void> {
  for (const { name, endings } of trial.nodes) {
    trial.check(`${name} needed no restart`, endings.length === 0, endings.join(" "));
  }
  let consumers: unknown;
  const isMet = await becomes(async () => {
    const queues = await readJson(`${trial.url}/queues`);
    const found = Array.isArray(queues) ? queues : [];
    consumers = found.find(({ queue }: { queue?: unknown }) => queue === QUEUE)?.consumers;
    return consumers === 2;
  }, 2 * RECOVERY_LIMIT_MS);
  trial.check("both workers consume in the end", isMet, String(consumers));
}
