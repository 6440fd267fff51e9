/** All that the task files of a worker define, as plain data that needs no user code to be read. */
import type { ConsumerDescriptor } from "./consumer.ts";
import type { TaskDescriptor } from "./descriptor.ts";
import type { PeriodicDescriptor } from "./periodic.ts";
import type { ScheduleDescriptor } from "./schedule.ts";

export interface Definitions {
  readonly tasks: readonly TaskDescriptor[];
  readonly consumers: readonly ConsumerDescriptor[];
  readonly schedules: readonly ScheduleDescriptor[];
  /** Callbacks that each node runs by itself, every so often. */
  readonly periodic: readonly PeriodicDescriptor[];
}
