/**
 * What runs inside an isolate, of either kind: loads the task files, tells the main thread what they
 * define, and runs attempts until it is told to leave or is killed. The only place where user code
 * runs.
 */
import * as coxswain from "../mod.ts";
import { collectNow, currentThread, heapBytes } from "../platform/memory.ts";
import { provideModule } from "../platform/module_plugin.ts";
import { lowerThreadPriority } from "../platform/thread_priority.ts";
import { BUILT_IN, defineDemoTasks } from "../tasks/demo.ts";
import { whileLoading } from "../tasks/defining_file.ts";
import { describeFailure } from "../tasks/failure.ts";
import { registry } from "../tasks/registry.ts";
import { currentAttempt } from "../tasks/running_attempt.ts";
import { runSetups, runTeardowns, SetupError } from "../tasks/setups.ts";
import { loadTaskFiles, TaskFileError } from "../tasks/task_files.ts";
import type { HostChannel } from "./host_channel.ts";
import { InsideAttempts } from "./inside_attempts.ts";
import { InsideServices } from "./inside_services.ts";
import type { MemoryReport } from "./memory_shares.ts";
import {
  decodeToIsolate,
  encodeFromIsolate,
  type FromIsolate,
  type IsolateInit,
} from "./protocol.ts";

type Stage = "loading" | "serving" | "leaving";

/** Serves the main thread behind a channel. Returns at once; the channel keeps the isolate alive. */
export function serveIsolate(channel: HostChannel): void {
  const inside = new Inside((message) => channel.send(encodeFromIsolate(message)));
  process.on("uncaughtException", (error: unknown) => inside.uncaught(error));
  process.on("unhandledRejection", (reason: unknown) => inside.unhandledRejection(reason));
  channel.receive((message) => inside.receive(message));
}

class Inside {
  readonly #send: (message: FromIsolate) => void;
  #stage: Stage = "loading";
  #services: InsideServices | undefined;
  #attempts: InsideAttempts | undefined;

  constructor(send: (message: FromIsolate) => void) {
    this.#send = send;
  }

  receive(text: unknown): void {
    const message = decodeToIsolate(text);
    if (message === undefined) return;
    switch (message.kind) {
      case "run":
        return this.#attempts?.run(message.head, message.body);
      case "interrupt":
        return this.#attempts?.interrupt(message.run, message.why);
      case "told":
        return this.#services?.told(message.ask, message.answer);
      case "measure":
        collectNow();
        return this.#send({ kind: "measured", memory: memoryReport() });
      case "init":
        return void this.#load(message.init);
      case "leave":
        return void this.#leave();
    }
  }

  async #load({ taskPaths, demo, nodeId, hasMemoryLimit }: IsolateInit): Promise<void> {
    try {
      provideModule("coxswain", coxswain);
      const { idle } = await loadTaskFiles(taskPaths);
      if (demo) await whileLoading(BUILT_IN, new Set(), defineDemoTasks);
      registry.seal();
      await runSetups(registry);
      const warnings = idle.map((file) => `Task file ${file} defines nothing`);
      this.#services = new InsideServices(nodeId, registry.settings, this.#send);
      this.#attempts = new InsideAttempts(registry, this.#services, this.#send);
      lowerThreadPriority();
      this.#stage = "serving";
      this.#send({
        kind: "ready",
        definitions: registry.definitions,
        warnings,
        ...(hasMemoryLimit ? { memory: memoryReport() } : {}),
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Set-ups ran before the first attempt, so teardowns run after the last, in the reverse order. */
  async #leave(): Promise<void> {
    this.#stage = "leaving";
    for (const problem of await runTeardowns(registry)) {
      this.#services?.logProblem(problem, {});
    }
    this.#send({ kind: "left" });
  }

  #fail(error: unknown): void {
    const { type, message, stack } = describeFailure(error);
    const isTold = error instanceof TaskFileError || error instanceof SetupError;
    this.#send({
      kind: "failed",
      reason: isTold ? message : `Cannot load tasks: ${stack ?? `${type}: ${message}`}`,
      ...(isTold ? { file: error.file } : {}),
    });
  }

  /**
   * An error that nobody caught (thrown in a timer or an event handler). The runtime still knows which
   * attempt's code it was: that attempt fails with it. The isolate may be hurt, so it is replaced.
   */
  uncaught(error: unknown): void {
    const { type, message, stack } = describeFailure(error);
    const what = `${type}: ${message}`;
    if (this.#stage === "loading") return this.#fail(error);
    const attempt = currentAttempt();
    if (attempt === undefined) {
      return this.#send({ kind: "broken", reason: `an error that nobody caught: ${what}` });
    }
    const wasRunning = this.#attempts?.fail(attempt, error) ?? false;
    if (!wasRunning) {
      this.#services?.logProblem(
        "A task that had ended left an error that nobody caught: {error}",
        {
          error: stack ?? what,
          task: attempt.facts.task,
          id: attempt.facts.id,
        },
      );
    }
    this.#send({ kind: "retire", reason: `an error that nobody caught: ${what}` });
  }

  /**
   * A rejection that nobody handled. Whose it is, the runtime does not tell, and what runs now may be
   * innocent: it is logged and costs nothing else. (An attempt that waits for the lost promise meets
   * its limit.)
   */
  unhandledRejection(reason: unknown): void {
    if (this.#stage === "loading") return this.#fail(reason);
    const { type, message, stack } = describeFailure(reason);
    this.#services?.logProblem("A rejected promise was not handled: {error}", {
      error: stack ?? `${type}: ${message}`,
      runningTasks: this.#attempts?.runningTasks ?? [],
    });
  }
}

function memoryReport(): MemoryReport {
  const thread = currentThread();
  return { heapBytes: heapBytes(), ...(thread === undefined ? {} : { thread }) };
}
