/** All devices of the cluster, as one node knows them: its own, and those that others told of. */
import type { BrokerCommands } from "./broker_commands.ts";
import type { CommandEnding, Devices, LiveDevice, SendOptions } from "./devices.ts";
import type { DeviceDirectory } from "./directory.ts";

/** The devices of this node itself. */
export interface OwnDevices {
  find(id: string): LiveDevice | undefined;
  list(): readonly LiveDevice[];
}

export interface ClusterDevicesOptions {
  /** Absent: this node holds none. */
  readonly own?: OwnDevices;
  readonly others: DeviceDirectory;
  readonly commands: BrokerCommands;
}

export class ClusterDevices implements Devices {
  readonly #options: ClusterDevicesOptions;

  constructor(options: ClusterDevicesOptions) {
    this.#options = options;
  }

  list(): readonly LiveDevice[] {
    const { own, others } = this.#options;
    const known = new Map(others.list().map((device) => [device.id, device]));
    for (const device of own?.list() ?? []) {
      if (!isLater(known.get(device.id), device)) known.set(device.id, device);
    }
    return [...known.values()].sort((a, b) => a.id < b.id ? -1 : 1);
  }

  find(id: string): LiveDevice | undefined {
    return laterOf(this.#options.own?.find(id), this.#options.others.find(id));
  }

  send(id: string, cmd: string, options?: SendOptions): Promise<CommandEnding> {
    return this.#options.commands.send(id, cmd, options);
  }
}

/** Of two connections of one id, the later: the other is about to end. */
export function laterOf(
  own: LiveDevice | undefined,
  other: LiveDevice | undefined,
): LiveDevice | undefined {
  return own === undefined || isLater(other, own) ? other : own;
}

function isLater(one: LiveDevice | undefined, than: LiveDevice): boolean {
  return one !== undefined && one.epoch > than.epoch;
}
