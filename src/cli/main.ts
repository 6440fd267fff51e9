/**
 * The command line from its words to the exit code. Each command loads only what it needs: help does
 * not wait for a broker's code, and a call not for HTTP's.
 */
import { getLogger } from "@logtape/logtape";
import { processSurroundings } from "../config/surroundings.ts";
import { configureLogging } from "../observe/logging.ts";
import { thisProgram } from "../platform/runtime.ts";
import type { Command, Parsed } from "./command.ts";
import type { CompositionRoot, OpenLists, ProgramFacts, ThreadEntries } from "./composition.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, processOutput } from "./output.ts";
import { parseCommandLine } from "./parse.ts";
import { startupFailure } from "./startup_error.ts";

const log = getLogger(["coxswain", "cli"]);

/**
 * Does what the arguments say; resolves with the exit code when it is done.
 * @param loadRoot loads run.ts, for the commands that need a broker.
 */
export async function runCommandLine(
  args: readonly string[],
  threadEntries: ThreadEntries,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const output = processOutput();
  const { name, command: selfCommand } = thisProgram();
  const columns = output.isTerminal ? process.stdout.columns : undefined;
  const surroundings = processSurroundings();
  const parse = () =>
    parseCommandLine(
      args,
      { programName: name, ...(columns === undefined ? {} : { columns }) },
      surroundings,
    );
  const parsed = parse();
  if (parsed.kind === "text") {
    output.print(parsed.stdout);
    output.printError(parsed.stderr);
    return parsed.exitCode;
  }
  const { command } = parsed;
  await configureLogging(command.config.log);
  try {
    return await runCommand(command, output, { threadEntries, selfCommand }, loadRoot, parse);
  } catch (error) {
    return tellFailure(command, error, output);
  }
}

async function runCommand(
  command: Command,
  output: Output,
  program: ProgramFacts,
  loadRoot: () => Promise<CompositionRoot>,
  reread: () => Parsed,
): Promise<number> {
  switch (command.kind) {
    case "node":
      return await runNodeCommand(command, program, await loadRoot(), reread);
    case "call":
      return await runCallCommand(command, output, loadRoot);
    case "list":
    case "steer":
      return await runListCommand(command, output, loadRoot);
    case "devices":
      return await runDevicesCommand(command, output, loadRoot);
    case "publish":
      return await runPublishCommand(command, output, loadRoot);
    case "subscribe":
      return await runSubscribeCommand(command, output, loadRoot);
    case "bench": {
      const { runBench } = await import("./bench_command.ts");
      const input = command.input === "-" ? await readStdin() : command.input;
      const words = { task: command.task, ...(input === undefined ? {} : { input }) };
      return await runBench(
        command.config,
        words,
        output,
        interruption(),
        progressTerminal(output),
      );
    }
    case "records": {
      const { runRecords } = await import("./records_command.ts");
      return await runRecords(command, output, { readStdin, interrupt: interruption() });
    }
  }
}

async function runNodeCommand(
  { config }: Extract<Command, { kind: "node" }>,
  program: ProgramFacts,
  { runNode }: CompositionRoot,
  reread: () => Parsed,
): Promise<number> {
  if (config.watch === undefined) return await runNode(config, program) ?? EXIT.well;
  const { runWatchedNode } = await import("./watched_node.ts");
  return await runWatchedNode(
    config,
    reread,
    (settings, watching) => runNode(settings, program, watching),
  );
}

type Listing = Extract<Command, { kind: "list" | "steer" }>;

async function runListCommand(
  command: Listing,
  output: Output,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const { target } = command.config;
  switch (target.kind) {
    case "front": {
      const { FrontClient } = await import("./front_client.ts");
      return await list(command, new FrontClient(target), output);
    }
    case "broker": {
      const { openBrokerLists } = await loadRoot();
      const lists = await openBrokerLists(command.config, target.broker, interruption());
      try {
        return await list(command, lists, output);
      } finally {
        await lists.close();
      }
    }
  }
}

async function list(
  command: Listing,
  source: Omit<OpenLists, "close">,
  output: Output,
): Promise<number> {
  const { config } = command;
  if (command.kind === "steer") {
    const { runQueueAction } = await import("./queues_command.ts");
    return await runQueueAction(config, command.action, command.queue, source, output);
  }
  switch (config.mode) {
    case "tasks":
      return await (await import("./tasks_command.ts")).runTasks(config, source, output);
    case "nodes":
      return await (await import("./nodes_command.ts")).runNodes(config, source, output);
    case "queues":
      return await (await import("./queues_command.ts")).runQueues(config, source, output);
  }
}

async function runDevicesCommand(
  { config, action }: Extract<Command, { kind: "devices" }>,
  output: Output,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const { runDevices } = await import("./devices_command.ts");
  const { target } = config;
  switch (target.kind) {
    case "front": {
      const { FrontClient } = await import("./front_client.ts");
      const { FrontDevices } = await import("./front_devices.ts");
      const source = new FrontDevices(new FrontClient(target), target.url);
      return await runDevices(config, action, source, output);
    }
    case "broker": {
      const { openBrokerDevices } = await loadRoot();
      const devices = await openBrokerDevices(config, target.broker, interruption());
      try {
        return await runDevices(config, action, devices, output);
      } finally {
        await devices.close();
      }
    }
  }
}

async function runPublishCommand(
  command: Extract<Command, { kind: "publish" }>,
  output: Output,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const { runPublish } = await import("./publish_command.ts");
  const { config } = command;
  const { target } = config;
  switch (target.kind) {
    case "front": {
      const { FrontClient } = await import("./front_client.ts");
      return await runPublish(config, command, new FrontClient(target), output, readStdin);
    }
    case "broker": {
      const { openBrokerSink } = await loadRoot();
      const sink = await openBrokerSink(config, target.broker, interruption());
      try {
        return await runPublish(config, command, sink, output, readStdin);
      } finally {
        await sink.close();
      }
    }
  }
}

async function runSubscribeCommand(
  { config, pattern }: Extract<Command, { kind: "subscribe" }>,
  output: Output,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const { runSubscribe } = await import("./subscribe_command.ts");
  const { target } = config;
  const interrupt = interruption();
  switch (target.kind) {
    case "front": {
      const { FrontChannels } = await import("./front_channels.ts");
      const { FrontClient } = await import("./front_client.ts");
      const source = new FrontChannels(new FrontClient(target), {
        tell: (text) => output.printError(`${text}\n`),
      });
      return await runSubscribe(config, pattern, source, output, interrupt);
    }
    case "broker": {
      const { openBrokerChannels } = await loadRoot();
      const source = await openBrokerChannels(config, target.broker, pattern, interrupt);
      try {
        return await runSubscribe(config, pattern, source, output, interrupt);
      } finally {
        await source.close();
      }
    }
  }
}

/** Progress is drawn on stderr, where it is a terminal. */
function progressTerminal({ printError }: Output) {
  const { isTTY, columns } = process.stderr;
  return isTTY ? { columns: columns ?? 80, write: printError } : undefined;
}

/** Aborts at Ctrl-C. */
function interruption(): AbortSignal {
  const interrupt = new AbortController();
  const abort = () => interrupt.abort();
  process.once("SIGINT", abort).once("SIGTERM", abort);
  return interrupt.signal;
}

async function readStdin(): Promise<string> {
  const { text } = await import("node:stream/consumers");
  return await text(process.stdin);
}

async function runCallCommand(
  command: Extract<Command, { kind: "call" }>,
  output: Output,
  loadRoot: () => Promise<CompositionRoot>,
): Promise<number> {
  const { runCall } = await import("./call_command.ts");
  const { target } = command.config;
  const interrupt = interruption();
  switch (target.kind) {
    case "front": {
      const { FrontClient } = await import("./front_client.ts");
      const caller = new FrontClient(target);
      return await runCall(command, caller, output, readStdin, interrupt);
    }
    case "broker": {
      const { openBrokerCaller } = await loadRoot();
      const open = await openBrokerCaller(command.config, target.broker, interrupt);
      try {
        return await runCall(command, open.caller, output, readStdin, interrupt);
      } finally {
        await open.close();
      }
    }
  }
}

/** One clear message, in the log of a node and as a line for an operator's command. */
function tellFailure(command: Command, error: unknown, output: Output): number {
  const failure = startupFailure(error);
  if (command.kind === "node") {
    const { mode } = command.config;
    if (failure === undefined) log.fatal("The node failed", { mode, error });
    else log.fatal("Cannot start {mode}: {reason}", { mode, reason: failure.message });
  } else {
    const stack = error instanceof Error ? error.stack ?? error.message : String(error);
    output.printError(failure === undefined ? `Unforeseen: ${stack}\n` : `${failure.message}\n`);
  }
  return failure?.exitCode ?? EXIT.failed;
}
