/** The queues of this program's workers on a broker: what nodes tell of them, and what the broker does. */
import type { Broker, QueueStatus } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError } from "../broker/errors.ts";
import { isMarkedPaused, markPaused, unmarkPaused } from "../broker/pause_marks.ts";
import { CONTROL_EXCHANGE, DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { encodeQueueCommand } from "../calls/wire/control_message.ts";
import type { ConsumedQueue } from "../nodes/announcement.ts";
import { problemOfQueue } from "../reserved_names.ts";
import type { QueueFailure, QueueInfo, Queues } from "./queues.ts";

/** What a node's beacons tell of a queue that it takes from. */
export interface QueueLoad {
  readonly queue: string;
  readonly deliveredPerSecond?: number;
  readonly settledPerSecond?: number;
}

/** What is known of the nodes: which queues they take from, and how fast. */
export interface QueueSources {
  readonly tasks: () => readonly { readonly queue: string; readonly nodes: readonly string[] }[];
  readonly consumers: () => readonly ConsumedQueue[];
  /** Of all nodes that are alive. */
  readonly loads: () => readonly QueueLoad[];
}

export class BrokerQueues implements Queues {
  readonly #broker: Broker;
  readonly #sources: QueueSources;

  constructor(broker: Broker, sources: QueueSources) {
    this.#broker = broker;
    this.#sources = sources;
  }

  list(): ReturnType<Queues["list"]> {
    return this.#try(async () => {
      const known = [...this.#known().values()].sort((a, b) => a.queue < b.queue ? -1 : 1);
      const loads = this.#sources.loads();
      const queues = await Promise.all(known.map(async (one): Promise<QueueInfo> => {
        const status = await this.#broker.inspectQueue(one.queue);
        const isPaused = one.kind !== "dead letters" &&
          await isMarkedPaused(this.#broker, one.queue);
        return {
          ...one,
          messages: status?.messages ?? null,
          consumers: status?.consumers ?? null,
          isPaused,
          ...ratesOf(one.queue, loads),
        };
      }));
      return { kind: "listed", queues };
    });
  }

  setPaused(queue: string, isPaused: boolean): ReturnType<Queues["setPaused"]> {
    return this.#try(async () => {
      const problem = problemOfQueue(queue);
      if (problem !== undefined) return badName(queue, problem);
      if (isPaused && await this.#inspect(queue) === undefined) return unknown(queue);
      if (isPaused) await markPaused(this.#broker, queue);
      else await unmarkPaused(this.#broker, queue);
      await this.#broker.declareExchange(CONTROL_EXCHANGE);
      await this.#broker.publish(encodeQueueCommand(queue, isPaused), { confirm: true });
      return { kind: "done" };
    });
  }

  purge(queue: string): ReturnType<Queues["purge"]> {
    return this.#try(async () => {
      const problem = queue === DEAD_LETTERS_QUEUE.name ? undefined : problemOfQueue(queue);
      if (problem !== undefined) return badName(queue, problem);
      if (await this.#inspect(queue) === undefined) return unknown(queue);
      return { kind: "purged", messages: await this.#broker.purgeQueue(queue) };
    });
  }

  #inspect(queue: string): Promise<QueueStatus | undefined> {
    return this.#broker.inspectQueue(queue);
  }

  #known(): ReadonlyMap<string, Pick<QueueInfo, "queue" | "kind" | "nodes" | "exchange" | "keys">> {
    const nodesOf = new Map<string, Set<string>>();
    for (const { queue, nodes } of this.#sources.tasks()) {
      const set = nodesOf.get(queue) ?? new Set();
      for (const node of nodes) set.add(node);
      nodesOf.set(queue, set);
    }
    const { name } = DEAD_LETTERS_QUEUE;
    return new Map<string, Pick<QueueInfo, "queue" | "kind" | "nodes" | "exchange" | "keys">>([
      ...[...nodesOf].map(([queue, nodes]) =>
        [queue, { queue, kind: "tasks", nodes: [...nodes].sort() }] as const
      ),
      ...this.#sources.consumers().map((one) => [one.queue, { ...one, kind: "messages" }] as const),
      [name, { queue: name, kind: "dead letters", nodes: [] }],
    ]);
  }

  async #try<T>(work: () => Promise<T | QueueFailure>): Promise<T | QueueFailure> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof BrokerAwayError) return { kind: "broker_away", message: error.message };
      // It was deleted between two looks.
      if (error instanceof DeclarationError) {
        return { kind: "unknown_queue", message: error.message };
      }
      throw error;
    }
  }
}

function ratesOf(
  queue: string,
  loads: readonly QueueLoad[],
): Pick<QueueInfo, "deliveredPerSecond" | "settledPerSecond"> {
  const told = loads.filter((load) =>
    load.queue === queue && load.deliveredPerSecond !== undefined &&
    load.settledPerSecond !== undefined
  );
  if (told.length === 0) return {};
  const sum = (pick: (load: QueueLoad) => number | undefined) =>
    Math.round(told.reduce((all, load) => all + (pick(load) ?? 0), 0) * 10) / 10;
  return {
    deliveredPerSecond: sum(({ deliveredPerSecond }) => deliveredPerSecond),
    settledPerSecond: sum(({ settledPerSecond }) => settledPerSecond),
  };
}

function badName(queue: string, problem: string): QueueFailure {
  return {
    kind: "bad_name",
    message: `A queue's name ${problem}; this one is ${JSON.stringify(queue.slice(0, 300))}`,
  };
}

function unknown(queue: string): QueueFailure {
  return { kind: "unknown_queue", message: `There is no queue "${queue}"` };
}
