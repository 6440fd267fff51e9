/**
 * Where a request for a task goes: to the queue that it names, to the one that a route of the
 * configuration names, or to where workers have announced the task. Pure. A request may so reach what
 * no worker of ours has: a task of a Celery worker.
 */
import type { TaskDescriptor } from "../tasks/descriptor.ts";

/** Tasks whose names fit go to this queue, whatever their workers announce. */
export interface TaskRoute {
  /** A name, with `*` for any characters and `?` for one, as in Celery's `task_routes`. */
  readonly pattern: string;
  readonly queue: string;
}

export interface TaskRoutes {
  /** The queue of the first route that fits; undefined where none does. */
  queueOf(task: string): string | undefined;
}

export const NO_ROUTES: TaskRoutes = { queueOf: () => undefined };

/** @param routes the first that fits wins. */
export function taskRoutes(routes: readonly TaskRoute[]): TaskRoutes {
  if (routes.length === 0) return NO_ROUTES;
  const compiled = routes.map(({ pattern, queue }) => ({ fits: glob(pattern), queue }));
  return { queueOf: (task) => compiled.find(({ fits }) => fits.test(task))?.queue };
}

export interface Destination {
  readonly queue: string;
  /** What workers of ours have told of the task. */
  readonly descriptor: TaskDescriptor | undefined;
  /**
   * Workers of ours take this task from this queue. Where they do not, the queue is somebody else's,
   * and so may be the worker: a Celery worker tells less of what it does.
   */
  readonly isOurs: boolean;
}

/**
 * @param queue what the request names.
 * @returns undefined where nobody says where the task is.
 */
export function destinationOf(
  task: string,
  queue: string | undefined,
  descriptor: TaskDescriptor | undefined,
  routes: TaskRoutes,
): Destination | undefined {
  const named = queue ?? routes.queueOf(task) ?? descriptor?.queue;
  return named === undefined
    ? undefined
    : { queue: named, descriptor, isOurs: named === descriptor?.queue };
}

/** Several stars are one: they mean the same, and cost a long name less. */
function glob(pattern: string): RegExp {
  const source = pattern.replaceAll(
    /\*+|\?|[\\^$.|+()[\]{}]/g,
    (special) => special.startsWith("*") ? "[^]*" : special === "?" ? "[^]" : `\\${special}`,
  );
  return new RegExp(`^${source}$`, "u");
}
