/**
 * Connections are cut at the worst instants: when the broker has taken a message and its confirm is on
 * its way, and when it has read half of a message.
 */
import { AmqpProxy, type Fate, type Frame, methodOf } from "../amqp_proxy.ts";
import type { Scenario } from "../scenario.ts";
import { becomes } from "../waiting.ts";

const PUBLISH = "60.40";
const ACK = "60.80";
const PAYLOAD = 3;

/** What is done at a frame, and in the words of the log where it happens. */
const CUTS: readonly {
  readonly what: string;
  readonly fate: Fate;
  readonly isAt: (frame: Frame) => boolean;
}[] = [
  {
    what: "between a publish and its confirm",
    fate: "cut",
    isAt: (frame) => frame.direction === "toNode" && methodOf(frame) === ACK,
  },
  {
    what: "after the first frame of a publish",
    fate: "carry and cut",
    isAt: (frame) => frame.direction === "toBroker" && methodOf(frame) === PUBLISH,
  },
  {
    what: "before a worker's ack",
    fate: "cut",
    isAt: (frame) => frame.direction === "toBroker" && methodOf(frame) === ACK,
  },
  {
    what: "in the midst of a delivery",
    fate: "cut",
    isAt: (frame) =>
      frame.direction === "toNode" && frame.type === PAYLOAD &&
      frame.link.consumingChannels.has(frame.channel),
  },
];
/** Of the frames that fit, so many are let through before, so that any node may be hit. */
const MOST_LET_THROUGH = 40;
const HIT_PATIENCE_MS = 20_000;

export const confirmCut: Scenario = {
  name: "confirm-cut",
  does: "connections are cut between a publish and its confirm, and in other bad places",
  promise: "202 means confirmed; what was not confirmed is told as open, never as refused",
  async run(trial) {
    const rabbit = await trial.rabbit();
    const amqpUrl = await trial.amqpUrl();
    const proxy = trial.stack.use(await AmqpProxy.listen(rabbit.port));
    const url = amqpUrl.replace(`:${rabbit.port}/`, `:${proxy.port}/`);
    await trial.front(url);
    trial.worker(url);
    trial.worker(url);
    trial.leavesRunsUntold();
    await trial.beginLoad();
    await trial.rounds(CUTS.length, async (round) => {
      const cut = CUTS[round % CUTS.length];
      if (cut === undefined) return;
      let left = Math.floor(trial.random.between(0, MOST_LET_THROUGH));
      let isHit = false;
      proxy.judge = (frame) => {
        if (isHit || !cut.isAt(frame) || left-- > 0) return "carry";
        isHit = true;
        return cut.fate;
      };
      await becomes(() => isHit, HIT_PATIENCE_MS, 10);
      trial.check(`there is a connection to cut ${cut.what}`, isHit);
      trial.fault(`a connection is cut ${cut.what}`);
      await trial.recovers();
    });
    for (const { name, endings } of trial.nodes) {
      trial.check(`${name} needed no restart`, endings.length === 0, endings.join(" "));
    }
  },
};
