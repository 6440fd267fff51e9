/** What a command line asks for, parsed and checked: all that the composition root needs to know. */
import type {
  BenchConfig,
  CallConfig,
  DevicesCommandConfig,
  ListConfig,
  NodeConfig,
  PublishConfig,
  RecordsConfig,
  SubscribeConfig,
} from "../config/config.ts";
import type { RecordsAction } from "./records_words.ts";
import type { DevicesAction } from "./devices_command.ts";
import type { QueueAction } from "./queues_command.ts";

export type Command =
  /** Run a node until it is told to stop. */
  | { readonly kind: "node"; readonly config: NodeConfig }
  /** Call one task and print its result. `input` "-" is standard input, absent is no argument. */
  | {
    readonly kind: "call";
    readonly config: CallConfig;
    readonly task: string;
    readonly input?: string;
  }
  /** List the tasks, nodes or queues that a front knows, or that are found over a broker. */
  | { readonly kind: "list"; readonly config: ListConfig }
  /** Pause, resume or purge one queue. */
  | {
    readonly kind: "steer";
    readonly config: ListConfig;
    readonly action: QueueAction;
    readonly queue: string;
  }
  /** List devices, show one, or send one a line. */
  | {
    readonly kind: "devices";
    readonly config: DevicesCommandConfig;
    readonly action: DevicesAction;
  }
  /** Publish one message. `message` "-" is standard input; `channel` where no exchange is named. */
  | {
    readonly kind: "publish";
    readonly config: PublishConfig;
    readonly channel?: string;
    readonly message: string;
  }
  /** Print what is published on channels. */
  | { readonly kind: "subscribe"; readonly config: SubscribeConfig; readonly pattern: string }
  /** Load a front and tell what it came to. */
  | {
    readonly kind: "bench";
    readonly config: BenchConfig;
    readonly task: string;
    readonly input?: string;
  }
  /** Ask a front about jobs, dead letters or schedules, or change them. */
  | { readonly kind: "records"; readonly config: RecordsConfig; readonly action: RecordsAction };

/** What comes of a command line. */
export type Parsed =
  | { readonly kind: "command"; readonly command: Command }
  /** Nothing to run: help, the version, a completion, or what was wrong with the words. */
  | {
    readonly kind: "text";
    readonly exitCode: number;
    readonly stdout: string;
    readonly stderr: string;
  };
