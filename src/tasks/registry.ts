/**
 * What the task files of this isolate define. `task`, `consume`, `every`, `cron`, `setup` and
 * `heartbeat.register` write to it while task files load; after that it is sealed. There is one for
 * each isolate, because each isolate has its own modules.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { ReadArguments } from "./arguments.ts";
import type { ConsumerDescriptor } from "./consumer.ts";
import type { TaskDescriptor } from "./descriptor.ts";
import type { Definitions } from "./definitions.ts";
import { DefinitionError } from "./errors.ts";
import type { PeriodicDescriptor } from "./periodic.ts";
import type { ScheduleDescriptor } from "./schedule.ts";

/** What an attempt runs. */
export interface Runnable {
  readonly input: StandardSchemaV1 | undefined;
  /** From what crossed to the isolate to the arguments. Default: Celery's triple. */
  readonly read?: (body: string) => ReadArguments;
  readonly run: (...args: unknown[]) => unknown;
}

/** A task as an isolate runs it. */
export interface RegisteredTask extends Runnable {
  readonly descriptor: TaskDescriptor;
}

/** A periodic callback as an isolate runs it. */
export interface RegisteredPeriodic extends Runnable {
  readonly descriptor: PeriodicDescriptor;
}

/** A consumer as an isolate runs it. */
export interface RegisteredConsumer extends Runnable {
  readonly descriptor: ConsumerDescriptor;
}

export interface RegisteredSetup {
  readonly file: string;
  readonly run: () => unknown;
  readonly teardown: ((settings: Settings) => unknown) | undefined;
}

/** What the set-ups of an isolate made, kept for the isolate's life. */
export interface Settings {
  [name: string]: unknown;
}

/** What attempts of periodic callbacks are called by. */
const PERIODIC_PREFIX = "heartbeat ";

export class TaskRegistry {
  /** What all set-ups made, in one object; each `setup` returns this very object. */
  readonly settings: Settings = {};
  readonly #tasks = new Map<string, RegisteredTask>();
  /** By the name of their descriptor. */
  readonly #consumers = new Map<string, RegisteredConsumer>();
  readonly #setups: RegisteredSetup[] = [];
  readonly #schedules = new Map<string, ScheduleDescriptor>();
  readonly #periodic = new Map<string, RegisteredPeriodic>();
  #lastPeriodic = 0;
  #isSealed = false;

  get tasks(): readonly RegisteredTask[] {
    return [...this.#tasks.values()];
  }

  get setups(): readonly RegisteredSetup[] {
    return this.#setups;
  }

  /** What the task files have defined so far. */
  get definitions(): Definitions {
    return {
      tasks: this.tasks.map(({ descriptor }) => descriptor),
      consumers: [...this.#consumers.values()].map(({ descriptor }) => descriptor),
      schedules: [...this.#schedules.values()],
      periodic: [...this.#periodic.values()].map(({ descriptor }) => descriptor),
    };
  }

  get(name: string): RegisteredTask | undefined {
    return this.#tasks.get(name);
  }

  /** What an attempt of this name runs: a task, or what the node runs by itself. */
  runnable(name: string): Runnable | undefined {
    return this.#periodic.get(name) ?? this.#consumers.get(name) ?? this.#tasks.get(name);
  }

  /** @throws DefinitionError when the name is taken (naming both files), or after `seal`. */
  addTask(task: RegisteredTask): void {
    const { name, file } = task.descriptor;
    this.#refuseLate(`task ${JSON.stringify(name)}`, file);
    const other = this.#tasks.get(name);
    if (other) {
      throw new DefinitionError(
        `Cannot define task ${JSON.stringify(name)} in ${file}: ` +
          `it is already defined in ${other.descriptor.file}`,
      );
    }
    this.#tasks.set(name, task);
  }

  /** @throws DefinitionError when its queue has a consumer (naming both files), or after `seal`. */
  addConsumer(consumer: RegisteredConsumer): void {
    const { name, queue, file } = consumer.descriptor;
    this.#refuseLate(`the consumer of queue ${JSON.stringify(queue)}`, file);
    const other = this.#consumers.get(name);
    if (other) {
      throw new DefinitionError(
        `Cannot consume queue ${JSON.stringify(queue)} in ${file}: it is already consumed in ` +
          `${other.descriptor.file}; for each message to reach both, give each a queue of its own`,
      );
    }
    this.#consumers.set(name, consumer);
  }

  /** @throws DefinitionError when the name is taken (naming both files), or after `seal`. */
  addSchedule(schedule: ScheduleDescriptor): void {
    const { name, file } = schedule;
    this.#refuseLate(`schedule ${JSON.stringify(name)}`, file);
    const other = this.#schedules.get(name);
    if (other) {
      throw new DefinitionError(
        `Cannot define schedule ${JSON.stringify(name)} in ${file}: it is already defined in ` +
          `${other.file}; two schedules of one task and rhythm each need a name of their own`,
      );
    }
    this.#schedules.set(name, schedule);
  }

  /** @throws DefinitionError after `seal`. */
  addSetup(setup: RegisteredSetup): void {
    this.#refuseLate("a set-up", setup.file);
    this.#setups.push(setup);
  }

  /** @returns its id, the same in each isolate that loads the same files. @throws DefinitionError after `seal`. */
  addPeriodic(
    { file, intervalMs, timeoutMs, run }: {
      readonly file: string;
      readonly intervalMs: number;
      readonly timeoutMs: number;
      readonly run: () => unknown;
    },
  ): string {
    this.#refuseLate("a heartbeat callback", file);
    const id = `callback-${++this.#lastPeriodic}`;
    const name = PERIODIC_PREFIX + id;
    this.#periodic.set(name, {
      descriptor: { id, name, file, intervalMs, timeoutMs },
      input: undefined,
      run,
    });
    return id;
  }

  /** Takes one out while files load; false where there is none, and after `seal`. */
  removePeriodic(id: string): boolean {
    return !this.#isSealed && this.#periodic.delete(PERIODIC_PREFIX + id);
  }

  /** From now on nothing can be defined: callers know the tasks from the time of the start alone. */
  seal(): void {
    this.#isSealed = true;
  }

  #refuseLate(what: string, file: string): void {
    if (!this.#isSealed) return;
    throw new DefinitionError(
      `Cannot define ${what} in ${file} now: define it at the top of a task file`,
    );
  }
}

/** Written by `task` and `setup` while task files load, read by the isolate's runtime. */
export const registry = new TaskRegistry();
