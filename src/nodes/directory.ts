/**
 * The directory: which task lives where, who consumes which queue of messages, and which schedules are
 * wanted, learnt from what nodes announce. Pure state; how announcements travel is nodes_channel.ts.
 */
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { ScheduleDescriptor } from "../tasks/schedule.ts";
import type { AnnouncedConsumer, ConsumedQueue, KnownTask } from "./announcement.ts";

interface Entry {
  readonly descriptor: TaskDescriptor;
  /** Nodes that serve it now. */
  readonly nodes: Set<string>;
}

/** Written by `NodesChannel` alone. */
export class Directory {
  readonly #entries = new Map<string, Entry>();
  readonly #tasksOf = new Map<string, readonly TaskDescriptor[]>();
  /** By queue, as the latest node told; they stay remembered. */
  readonly #consumers = new Map<string, AnnouncedConsumer>();
  readonly #queuesOf = new Map<string, ReadonlySet<string>>();
  /** By node, the latest to speak last. */
  readonly #schedulesOf = new Map<string, readonly ScheduleDescriptor[]>();

  /** A node tells all that it serves; what it told before is forgotten. */
  announced(
    node: string,
    tasks: readonly TaskDescriptor[],
    consumers: readonly AnnouncedConsumer[] = [],
    schedules: readonly ScheduleDescriptor[] = [],
  ): void {
    const before = this.#tasksOf.get(node) ?? [];
    this.left(node);
    if (schedules.length > 0) this.#schedulesOf.set(node, schedules);
    for (const consumer of consumers) this.#consumers.set(consumer.queue, consumer);
    this.#queuesOf.set(node, new Set(consumers.map(({ queue }) => queue)));
    this.#tasksOf.set(node, tasks);
    for (const descriptor of tasks) {
      const nodes = this.#entries.get(descriptor.name)?.nodes ?? new Set<string>();
      nodes.add(node);
      // The latest word counts: a task that moved to another queue is published to the new one.
      this.#entries.set(descriptor.name, { descriptor, nodes });
    }
    // It lives and no longer has them: nobody is to wait for those that nobody else has.
    for (const { name } of before) {
      if (this.#entries.get(name)?.nodes.size === 0) this.#entries.delete(name);
    }
  }

  /** A node serves nothing any more. Its tasks stay remembered. */
  left(node: string): void {
    for (const { name } of this.#tasksOf.get(node) ?? []) {
      const entry = this.#entries.get(name);
      if (entry === undefined) continue;
      entry.nodes.delete(node);
      const other = this.#descriptorFromAnyOf(entry.nodes, name);
      if (other !== undefined) this.#entries.set(name, { descriptor: other, nodes: entry.nodes });
    }
    this.#tasksOf.delete(node);
    this.#queuesOf.delete(node);
    this.#schedulesOf.delete(node);
  }

  /** Schedules that a node wants now, each name once: as the latest to speak told it. */
  schedules(): readonly ScheduleDescriptor[] {
    const all = [...this.#schedulesOf.values()].flat();
    return [...new Map(all.map((schedule) => [schedule.name, schedule])).values()];
  }

  /** Queues of messages, with who consumes them now. Sorted. */
  consumedQueues(): readonly ConsumedQueue[] {
    return [...this.#consumers.values()]
      .map((consumer) => ({
        ...consumer,
        nodes: [...this.#queuesOf].filter(([, queues]) => queues.has(consumer.queue))
          .map(([node]) => node).sort(),
      }))
      .sort((a, b) => a.queue < b.queue ? -1 : 1);
  }

  /** Whether exactly these are the tasks that a node has announced. */
  hasExactly(node: string, tasks: readonly string[]): boolean {
    const announced = this.#tasksOf.get(node) ?? [];
    if (announced.length !== tasks.length) return false;
    const names = new Set(tasks);
    return announced.every(({ name }) => names.has(name));
  }

  /** What a call needs, without the list of nodes. */
  descriptor(task: string): TaskDescriptor | undefined {
    return this.#entries.get(task)?.descriptor;
  }

  find(task: string): KnownTask | undefined {
    const entry = this.#entries.get(task);
    return entry && { ...entry.descriptor, nodes: [...entry.nodes].sort() };
  }

  list(): readonly KnownTask[] {
    return [...this.#entries.values()]
      .map(({ descriptor, nodes }) => ({ ...descriptor, nodes: [...nodes].sort() }))
      .sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** Whether another node serves this task from this queue. */
  isServedElsewhere(task: string, queue: string, self: string): boolean {
    const entry = this.#entries.get(task);
    if (entry === undefined) return false;
    return [...entry.nodes].some((node) =>
      node !== self &&
      this.#tasksOf.get(node)?.some((known) => known.name === task && known.queue === queue)
    );
  }

  #descriptorFromAnyOf(nodes: ReadonlySet<string>, task: string): TaskDescriptor | undefined {
    for (const node of nodes) {
      const found = this.#tasksOf.get(node)?.find(({ name }) => name === task);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
