/** What workers tell of themselves on `cox.nodes`, and what a front remembers of it. */
import type { TaskDescriptor } from "../tasks/descriptor.ts";

/** A task as a front knows it. */
export interface KnownTask extends TaskDescriptor {
  /** Nodes that serve it now; empty where it is only remembered. */
  readonly nodes: readonly string[];
}

/** Which task lives where: read by the caller, by `GET /tasks` and by `app tasks`. */
export interface TaskDirectory {
  find(task: string): KnownTask | undefined;
  /** Sorted by name. */
  list(): readonly KnownTask[];
  /**
   * Resolves when workers have had time to answer the question that a front asks when it connects:
   * before that, a task that is not known may only not be known yet.
   */
  settled(signal?: AbortSignal): Promise<void>;
  readonly isSettled: boolean;
}
