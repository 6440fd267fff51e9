/** The part of a node that knows devices: the gateway of a front, the list of all, and commands. */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import type { BrokerConfig, DevicesConfig } from "../../config/config.ts";
import { BrokerCommands } from "../../devices/broker_commands.ts";
import type { DeviceCommands, Devices } from "../../devices/devices.ts";
import type { NodeHeartbeat } from "../../heartbeat/node_heartbeat.ts";
import { validityProblem } from "../../platform/certificate.ts";
import { isLoopback } from "../../platform/loopback.ts";
import { maxOpenFiles } from "../../platform/open_files.ts";
import type { RosterKeeper } from "../../nodes/roster_keeper.ts";
import type { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";

const log = getLogger(["coxswain", "node"]);

/** Of a node that only sends commands: to whom, the broker knows. */
export async function startCommands(node: Node, broker: Broker): Promise<DeviceCommands> {
  const commands = new BrokerCommands({ broker });
  await node.start(commands);
  return commands;
}

export interface FrontDevices {
  readonly broker: Broker;
  readonly id: string;
  readonly config: {
    readonly broker: BrokerConfig;
    /** Absent: no device can connect here. */
    readonly devices?: DevicesConfig;
  };
  readonly heartbeat: NodeHeartbeat;
  readonly roster: RosterKeeper;
}

/** @throws StartupError where the port that was chosen is taken. */
export async function startDevices(node: Node, parts: FrontDevices): Promise<Devices> {
  const { broker, id, config, heartbeat, roster } = parts;
  const { ClusterDevices } = await import("../../devices/cluster_devices.ts");
  const { DirectoryKeeper } = await import("../../devices/directory_keeper.ts");
  const { Epochs } = await import("../../devices/epochs.ts");
  const epochs = new Epochs();
  const nodeStartedAt = heartbeat.introduction.startedAt;
  const keeper = new DirectoryKeeper({ broker, node: id, nodeStartedAt, epochs, roster });
  await node.start(keeper);
  const { devices: settings } = config;
  const gateway = settings === undefined
    ? undefined
    : await startGateway(node, { broker, node: id, nodeStartedAt, keeper, epochs }, settings);
  const commands: BrokerCommands = new BrokerCommands({
    broker,
    find: (one) => devices.find(one),
    isComing: (one) => gateway?.isComing(one) === true,
  });
  const devices: Devices = new ClusterDevices({
    ...(gateway === undefined ? {} : { own: gateway }),
    others: keeper.directory,
    commands,
  });
  await node.start(commands);
  return devices;
}

type Surroundings = Omit<
  ConstructorParameters<typeof import("../../devices/gateway.ts").DeviceGateway>[0],
  "settings" | "clock"
>;

/** For HTTP, the broker, the store and the tasks: devices must not keep them from opening anything. */
const OTHER_FILES = { share: 0.1, least: 64 } as const;

/** As many connections as are wanted, or as many as the system lets us have open. */
function roomFor(wanted: number): number {
  const files = maxOpenFiles();
  if (files === undefined) return wanted;
  const others = Math.max(OTHER_FILES.least, Math.ceil(files * OTHER_FILES.share));
  const room = Math.max(1, files - others);
  if (room >= wanted) return wanted;
  log.info("Room for {room} devices: this process may have {files} files open", { room, files });
  return room;
}

/** What an operator should look at though devices can connect. */
function tellFlaws({ host, tls, tokens }: DevicesConfig): void {
  const flaw = tls === undefined ? undefined : validityProblem(tls.cert, Date.now());
  if (flaw !== undefined) log.warn("The certificate {flaw}: devices will refuse it", { flaw });
  if (tls === undefined && tokens !== undefined && !isLoopback(host)) {
    log.warn(
      "Tokens of devices come in readable by whoever sees the network: give a certificate with " +
        "--device-tls-cert, or keep this port behind a proxy that has one",
    );
  }
}

async function startGateway(node: Node, around: Surroundings, settings: DevicesConfig) {
  const { DeviceGateway } = await import("../../devices/gateway.ts");
  const { TcpListenError } = await import("../../platform/tcp_server.ts");
  const port = node.portFor("devices", settings.port);
  const maxConnections = roomFor(settings.maxConnections);
  const gateway = new DeviceGateway({ ...around, settings: { ...settings, port, maxConnections } });
  try {
    await node.start(gateway);
  } catch (error) {
    if (!(error instanceof TcpListenError)) throw error;
    if (settings.isPortGiven) throw new StartupError(error.message, { cause: error });
    // Nobody chose it: a second node on one machine has its work without devices too.
    log.warn("No device can connect here, choose a --device-port: {reason}", {
      reason: error.message,
    });
    return undefined;
  }
  node.keepPort("devices", gateway.port);
  log.info("Listening for devices on {url}", { url: gateway.url });
  tellFlaws(settings);
  return gateway;
}
