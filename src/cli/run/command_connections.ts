/** Connections of their own for commands that call, list, publish and subscribe over a broker. */
import { PUBSUB_EXCHANGE } from "../../broker/topology.ts";
import type {
  AmqpBrokerConfig,
  CallConfig,
  ListConfig,
  PublishConfig,
  SubscribeConfig,
} from "../../config/config.ts";
import { BrokerExchanges } from "../../messages/broker_exchanges.ts";
import { BrokerQueues } from "../../messages/broker_queues.ts";
import { problemOfChannel } from "../../pubsub/channel_name.ts";
import { publishOnChannel } from "../../pubsub/publish.ts";
import { publishToExchange, queueSource } from "../broker_messages.ts";
import type { OpenCaller, OpenChannels, OpenLists, OpenSink } from "../composition.ts";
import { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";
import { openBroker } from "./adapters.ts";
import {
  nodesChannel,
  queueSources,
  rosterKeeper,
  startCaller,
  startExplained,
} from "./broker_parts.ts";

/** A caller with its own connection, for the command line. See `CompositionRoot`. */
export async function openBrokerCaller(
  config: CallConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenCaller> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const nodes = nodesChannel(connection, config.node.id);
    await node.start(nodes);
    const caller = await startCaller(node, connection, nodes, config, config.node.id);
    await nodes.settled(signal);
    return { caller, close: () => node.stopParts(AbortSignal.abort()) };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Looks at nodes without being one, for the command line. See `CompositionRoot`. */
export async function openBrokerLists(
  config: ListConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenLists> {
  const node = new Node(config.node);
  try {
    const { id } = config.node;
    const connection = await openBroker(node, broker, id, signal);
    const nodes = nodesChannel(connection, id);
    const roster = rosterKeeper(connection, nodes, id, config.heartbeatExchange, {
      publishes: false,
      hearsCelery: true,
    });
    await startExplained(node, roster);
    await node.start(nodes);
    await nodes.settled(signal);
    return {
      tasks: () => Promise.resolve(JSON.stringify(nodes.list())),
      nodes: () => Promise.resolve(JSON.stringify(roster.list())),
      ...queueSource(new BrokerQueues(connection, queueSources(nodes, roster))),
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Publishes for the command line. See `CompositionRoot`. */
export async function openBrokerSink(
  config: PublishConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenSink> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const exchanges = new BrokerExchanges(connection);
    return {
      publishToExchange: (exchange, message, options) =>
        publishToExchange(exchanges, exchange, message, options),
      publishToChannel: async (channel, { text, contentType }) => {
        const problem = problemOfChannel(channel);
        if (problem !== undefined) {
          throw new StartupError(`Cannot publish: channel ${JSON.stringify(channel)} ${problem}`);
        }
        await connection.declareExchange(PUBSUB_EXCHANGE);
        const payload = { contentType, body: new TextEncoder().encode(text) };
        const messageId = await publishOnChannel(connection, channel, payload);
        return JSON.stringify({ id: messageId, channel });
      },
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Subscribes for the command line. See `CompositionRoot`. */
export async function openBrokerChannels(
  config: SubscribeConfig,
  broker: AmqpBrokerConfig,
  pattern: string,
  signal: AbortSignal,
): Promise<OpenChannels> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const { Channels } = await import("../../pubsub/channels.ts");
    const channels = new Channels({
      broker: connection,
      pattern,
      replay: KEPT_FOR_A_TERMINAL,
      maxBacklog: KEPT_FOR_A_TERMINAL.maxMessages,
      maxSubscribers: 1,
    });
    // From before the queue is there: what comes first is not missed.
    const subscription = channels.subscribe(pattern);
    await node.start(channels);
    return {
      subscribe: async function* (_, { signal }) {
        signal.addEventListener("abort", () => subscription.close(), { once: true });
        if (signal.aborted) subscription.close();
        for (let events = await subscription.next(); events.length > 0;) {
          for (const { json } of events) yield json;
          events = await subscription.next();
        }
      },
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** What waits for a terminal that is slower than the channels. */
const KEPT_FOR_A_TERMINAL = { maxMessages: 10_000, maxBytes: 2 ** 25, maxAgeMs: 60 * 60_000 };
