/** What the command line asks of the composition root, run.ts: the parts that need adapters. */
import type { Caller } from "../calls/call.ts";
import type { AmqpBrokerConfig, CallConfig, NodeConfig } from "../config/config.ts";

/** What only the program's entry knows. */
export interface ProgramFacts {
  /** The isolates' entry file; made in main.ts, where it is right from source and compiled. */
  readonly isolateEntry: URL;
  /** The words that start this program again. */
  readonly selfCommand: readonly [string, ...string[]];
}

/** A caller with its own connection. */
export interface OpenCaller {
  readonly caller: Caller;
  close(): Promise<void>;
}

export interface CompositionRoot {
  /**
   * Runs a node until a signal stops it, and tells the exit code.
   * @throws StartupError for what an operator can put right; BrokerAwayError or BrokerRefusedError
   *   when the broker cannot be had.
   */
  runNode(config: NodeConfig, program: ProgramFacts): Promise<number>;
  /**
   * Connects to a broker and waits until the tasks are known that workers announce there.
   * @throws BrokerAwayError or BrokerRefusedError when the broker cannot be had.
   */
  openBrokerCaller(
    config: CallConfig,
    broker: AmqpBrokerConfig,
    signal: AbortSignal,
  ): Promise<OpenCaller>;
}
