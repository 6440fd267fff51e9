/** A node as far as devices go: its list, its gateway and its commands, on a broker of a test's choice. */
import type { Broker } from "../../src/broker/broker.ts";
import { BrokerCommands } from "../../src/devices/broker_commands.ts";
import { ClusterDevices } from "../../src/devices/cluster_devices.ts";
import { DirectoryKeeper } from "../../src/devices/directory_keeper.ts";
import { Epochs } from "../../src/devices/epochs.ts";
import { DeviceGateway, type GatewaySettings } from "../../src/devices/gateway.ts";
import { type Clock, systemClock } from "../../src/lifecycle/clock.ts";
import type { KnownNode, RosterEvent } from "../../src/nodes/roster.ts";
import { Device } from "../support/device.ts";
import { until } from "../support/waiting.ts";

export const STARTED_AT = "2026-11-21T10:00:00.000Z";

const SETTINGS: GatewaySettings = {
  host: "127.0.0.1",
  port: 0,
  maxLineBytes: 4_096,
  maxConnections: 2_000,
  maxPerAddress: 2_000,
  idleMs: 0,
};

export class DeviceNode implements AsyncDisposable {
  readonly keeper: DirectoryKeeper;
  readonly gateway: DeviceGateway;
  readonly commands: BrokerCommands;
  readonly devices: ClusterDevices;
  readonly #listeners = new Set<(event: RosterEvent) => void>();

  private constructor(
    broker: Broker,
    node: string,
    settings: Partial<GatewaySettings>,
    clock: Clock,
  ) {
    const epochs = new Epochs();
    const around = { broker, node, nodeStartedAt: STARTED_AT, epochs, clock };
    const roster = {
      watch: (listener: (event: RosterEvent) => void) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
    };
    const keeper = this.keeper = new DirectoryKeeper({ ...around, roster, settleMs: 0 });
    const gateway = this.gateway = new DeviceGateway({
      ...around,
      keeper,
      settings: { ...SETTINGS, ...settings },
    });
    this.commands = new BrokerCommands({
      broker,
      find: (id) => this.devices.find(id),
      isComing: (id) => gateway.isComing(id),
    });
    this.devices = new ClusterDevices({
      own: gateway,
      others: keeper.directory,
      commands: this.commands,
    });
  }

  static async start(
    broker: Broker,
    node: string,
    settings: Partial<GatewaySettings> = {},
    clock: Clock = systemClock,
  ): Promise<DeviceNode> {
    const one = new DeviceNode(broker, node, settings, clock);
    await one.keeper.start();
    await one.gateway.start();
    await one.commands.start();
    return one;
  }

  /** The roster tells of a node. */
  tellOfNode(kind: RosterEvent["kind"], id: string): void {
    const node: KnownNode = {
      id,
      kind: "coxswain",
      role: "serve",
      version: "0",
      state: kind === "gone" ? "gone" : "alive",
      startedAt: STARTED_AT,
      intervalMs: 1_000,
    };
    for (const listener of this.#listeners) listener({ kind, node });
  }

  /** One that this node holds, and everybody has been told of. */
  async device(first?: string): Promise<Device> {
    const device = await Device.connected(this.gateway.port, first === undefined ? {} : { first });
    const id = first?.split(" ")[0] ?? device.address;
    await until(
      "it is told",
      () => this.gateway.find(id)?.address === device.address && !this.gateway.isComing(id),
    );
    return device;
  }

  async stop(): Promise<void> {
    await this.commands.stop();
    await this.gateway.stop();
    await this.keeper.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
