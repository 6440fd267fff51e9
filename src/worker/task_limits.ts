/**
 * The tasks of a worker with the limits that they have now: those of the task files, or those that an
 * operator has set with Celery's `time_limit` while it runs.
 */
import type { TaskDescriptor } from "../tasks/descriptor.ts";

export class TaskLimits {
  /** As the task files say. */
  readonly #declared: ReadonlyMap<string, TaskDescriptor>;
  /** As they are now, for the executor to look up. Written here alone. */
  readonly #present: Map<string, TaskDescriptor>;
  readonly #onChange: () => void;

  /** @param onChange called after a limit was set: fronts wait for calls as long as they were told. */
  constructor(tasks: readonly TaskDescriptor[], onChange: () => void) {
    this.#declared = new Map(tasks.map((task) => [task.name, task]));
    this.#present = new Map(this.#declared);
    this.#onChange = onChange;
  }

  get byName(): ReadonlyMap<string, TaskDescriptor> {
    return this.#present;
  }

  get tasks(): readonly TaskDescriptor[] {
    return [...this.#present.values()];
  }

  /** These tasks with their present limits. */
  present(tasks: readonly TaskDescriptor[]): readonly TaskDescriptor[] {
    return tasks.map((task) => this.#present.get(task.name) ?? task);
  }

  /**
   * Sets limits for requests that come from now on.
   * @param limits absent: as the task file says.
   * @returns false: there is no such task.
   */
  set(name: string, { hardMs, softMs }: { readonly hardMs?: number; readonly softMs?: number }) {
    const declared = this.#declared.get(name);
    if (declared === undefined) return false;
    const softTimeoutMs = softMs ?? declared.softTimeoutMs;
    this.#present.set(name, {
      ...declared,
      timeoutMs: hardMs ?? declared.timeoutMs,
      ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
    });
    this.#onChange();
    return true;
  }
}
