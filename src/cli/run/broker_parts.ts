/** Parts that nodes and commands have in common: who is there, what is declared, who calls. */
import type { Broker, ExchangeSpec } from "../../broker/broker.ts";
import { DeclarationError } from "../../broker/errors.ts";
import { BrokerCaller } from "../../calls/broker_caller.ts";
import type { CallsConfig } from "../../config/config.ts";
import { HeartbeatExchangeError } from "../../heartbeat/node_heartbeat.ts";
import type { Component } from "../../lifecycle/component.ts";
import { declareConfigured } from "../../messages/broker_exchanges.ts";
import type { QueueSources } from "../../messages/broker_queues.ts";
import { NodesChannel, type NodesChannelOptions } from "../../nodes/nodes_channel.ts";
import { RosterKeeper, type RosterKeeperOptions } from "../../nodes/roster_keeper.ts";
import { type TaskRoute, taskRoutes } from "../../nodes/routes.ts";
import { VERSION } from "../../version.ts";
import { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";

/** Largest body that a worker inflates where no front's limit says less: RabbitMQ's own limit. */
export const MAX_INFLATED_BYTES = 16 * 2 ** 20;

/** @throws StartupError naming each that cannot be declared. */
export async function declareExchanges(
  broker: Broker,
  specs: readonly ExchangeSpec[],
): Promise<void> {
  try {
    await declareConfigured(broker, specs);
  } catch (error) {
    if (!(error instanceof DeclarationError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

export function queueSources(nodes: NodesChannel, roster: RosterKeeper): QueueSources {
  return {
    tasks: () => nodes.list(),
    consumers: () => nodes.consumedQueues(),
    loads: () =>
      roster.list().flatMap(({ state, load }) => state === "alive" ? load?.consumers ?? [] : []),
  };
}

export function nodesChannel(
  broker: Broker,
  node: string,
  further: Pick<NodesChannelOptions, "settleMs" | "schedules"> = {},
): NodesChannel {
  return new NodesChannel({ broker, node, ...further });
}

export function rosterKeeper(
  broker: Broker,
  nodes: NodesChannel,
  node: string,
  exchange: string,
  { publishes, hearsCelery }: Pick<RosterKeeperOptions, "publishes" | "hearsCelery">,
): RosterKeeper {
  return new RosterKeeper({
    broker,
    nodes,
    node,
    exchange,
    publishes,
    ...(hearsCelery === undefined ? {} : { hearsCelery }),
  });
}

/** Starts a part that needs the exchange of beacons, which an operator can put right. */
export async function startExplained(node: Node, part: Component): Promise<void> {
  try {
    await node.start(part);
  } catch (error) {
    if (!(error instanceof HeartbeatExchangeError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

export async function startCaller(
  node: Node,
  broker: Broker,
  nodes: NodesChannel,
  { calls: { expiresMs, maxPending }, routes }: {
    readonly calls: CallsConfig;
    readonly routes: readonly TaskRoute[];
  },
  id: string,
  maxReplyBytes = MAX_INFLATED_BYTES,
): Promise<BrokerCaller> {
  const caller = new BrokerCaller({
    broker,
    directory: nodes,
    routes: taskRoutes(routes),
    node: id,
    version: VERSION,
    expiresMs,
    maxPending,
    // A result may be as large as an input, and some more for what is around it.
    maxReplyBytes: Math.max(maxReplyBytes, MAX_INFLATED_BYTES),
  });
  await node.start(caller);
  return caller;
}
