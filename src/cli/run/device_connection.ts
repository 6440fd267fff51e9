/** A connection of its own for `app devices`: what nodes hold, and the way to it. */
import type { AmqpBrokerConfig, DevicesCommandConfig } from "../../config/config.ts";
import { brokerDevices } from "../broker_devices.ts";
import type { OpenDevices } from "../composition.ts";
import { Node } from "../node.ts";
import { openBroker } from "./adapters.ts";

/** Looks at devices without being a node, for the command line. See `CompositionRoot`. */
export async function openBrokerDevices(
  config: DevicesCommandConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenDevices> {
  const node = new Node(config.node);
  try {
    const { id } = config.node;
    const connection = await openBroker(node, broker, id, signal);
    const { BrokerCommands } = await import("../../devices/broker_commands.ts");
    const { ClusterDevices } = await import("../../devices/cluster_devices.ts");
    const { DirectoryKeeper } = await import("../../devices/directory_keeper.ts");
    const { Epochs } = await import("../../devices/epochs.ts");
    const keeper = new DirectoryKeeper({
      broker: connection,
      node: id,
      nodeStartedAt: new Date().toISOString(),
      epochs: new Epochs(),
      // Only those answer who are there.
      roster: { watch: () => () => {} },
    });
    await node.start(keeper);
    const others = keeper.directory;
    const commands = new BrokerCommands({
      broker: connection,
      find: (device) => others.find(device),
    });
    await node.start(commands);
    await keeper.settled();
    return {
      ...brokerDevices(new ClusterDevices({ others, commands })),
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}
