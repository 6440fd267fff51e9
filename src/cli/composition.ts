/** What the command line asks of the composition root, run.ts with run/: the parts that need adapters. */
import type { Caller } from "../calls/call.ts";
import type {
  AmqpBrokerConfig,
  CallConfig,
  DevicesCommandConfig,
  ListConfig,
  NodeConfig,
  PublishConfig,
  SubscribeConfig,
} from "../config/config.ts";
import type { DeviceSource } from "./devices_command.ts";
import type { Restarts } from "./node.ts";
import type { MessageSink } from "./publish_command.ts";
import type { ChannelSource } from "./subscribe_command.ts";
import type { QueueSource } from "./queues_command.ts";

/** Files that threads begin with; made in main.ts, where they are right from source and compiled. */
export interface ThreadEntries {
  readonly isolate: URL;
  readonly store: URL;
}

/** What only the program's entry knows. */
export interface ProgramFacts {
  readonly threadEntries: ThreadEntries;
  /** The words that start this program again. */
  readonly selfCommand: readonly [string, ...string[]];
}

/** A caller with its own connection. */
export interface OpenCaller {
  readonly caller: Caller;
  close(): Promise<void>;
}

/** What nodes told over a broker, as a front would list it: JSON texts of arrays. */
export interface OpenLists extends QueueSource {
  tasks(): Promise<string>;
  nodes(): Promise<string>;
  close(): Promise<void>;
}

/** Devices over a connection of their own. */
export interface OpenDevices extends DeviceSource {
  close(): Promise<void>;
}

/** A publisher with its own connection. */
export interface OpenSink extends MessageSink {
  close(): Promise<void>;
}

/** What a node that is being developed tells whoever watches its files: watched_node.ts. */
export interface Watching extends Restarts {
  /** It has a worker, and how its tasks are loaded anew. */
  onWorker(reload: (change: string) => Promise<void>): void;
  /** It has started. */
  onReady(): void;
}

/** Channels over a connection of their own. */
export interface OpenChannels extends ChannelSource {
  close(): Promise<void>;
}

export interface CompositionRoot {
  /**
   * Runs a node until a signal stops it, and tells the exit code; undefined where whoever watches wants
   * it started anew.
   * @throws StartupError for what an operator can put right; BrokerAwayError or BrokerRefusedError
   *   when the broker cannot be had.
   */
  runNode(
    config: NodeConfig,
    program: ProgramFacts,
    watching?: Watching,
  ): Promise<number | undefined>;
  /**
   * Connects to a broker and waits until the tasks are known that workers announce there.
   * @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had.
   */
  openBrokerCaller(
    config: CallConfig,
    broker: AmqpBrokerConfig,
    signal: AbortSignal,
  ): Promise<OpenCaller>;
  /**
   * Connects to a broker and waits until the nodes there have told who they are and what they serve.
   * @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had.
   */
  openBrokerLists(
    config: ListConfig,
    broker: AmqpBrokerConfig,
    signal: AbortSignal,
  ): Promise<OpenLists>;
  /**
   * Connects to a broker and waits until its nodes have told which devices they hold.
   * @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had.
   */
  openBrokerDevices(
    config: DevicesCommandConfig,
    broker: AmqpBrokerConfig,
    signal: AbortSignal,
  ): Promise<OpenDevices>;
  /** @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had. */
  openBrokerSink(
    config: PublishConfig,
    broker: AmqpBrokerConfig,
    signal: AbortSignal,
  ): Promise<OpenSink>;
  /**
   * @param pattern what will be subscribed to.
   * @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had.
   */
  openBrokerChannels(
    config: SubscribeConfig,
    broker: AmqpBrokerConfig,
    pattern: string,
    signal: AbortSignal,
  ): Promise<OpenChannels>;
}
