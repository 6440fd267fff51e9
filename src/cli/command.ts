/** What a command line asks for, parsed and checked: all that the composition root needs to know. */
import type { CallConfig, ListConfig, NodeConfig } from "../config/config.ts";

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
  /** List the tasks or the nodes that a front knows, or that answer over a broker. */
  | { readonly kind: "list"; readonly config: ListConfig };

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
