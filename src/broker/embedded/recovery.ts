/** Brings back what the disk holds when the broker starts: declarations, marks and messages. */
import type { Clock } from "../../lifecycle/clock.ts";
import { Entry, entrySizeBytes } from "./entry.ts";
import type { JournalFile } from "./journal_file.ts";
import type { Queue } from "./queue.ts";
import { parseArguments } from "./routing_table.ts";
import type { VirtualHost } from "./virtual_host.ts";

export interface Recovered {
  readonly queues: number;
  readonly messages: number;
  /** Every id so far is at most this. */
  readonly lastId: number;
}

/** Contents stay on disk until a consumer takes them. */
export function recover(file: JournalFile, host: VirtualHost, clock: Clock): Recovered {
  file.sweep();
  for (const { name, type, autoDelete } of file.exchanges()) {
    host.restoreExchange({ name, type, durable: true, autoDelete });
  }
  const queues = new Map<number, Queue>();
  for (const { id, name, shape } of file.queues()) {
    queues.set(id, host.restoreQueue(name, shape, id));
  }
  for (const { exchange: name, queue: id, routingKey, argumentsText } of file.bindings()) {
    const exchange = host.exchange(name);
    const queue = queues.get(id);
    if (exchange === undefined || queue === undefined) continue;
    const condition = { routingKey, arguments: parseArguments(argumentsText) };
    host.restoreBinding(exchange, queue, condition);
  }
  let lastId = 0;
  for (const { queue: id, priority, upTo } of file.marks()) {
    queues.get(id)?.markOf(priority).restore(upTo);
    lastId = Math.max(lastId, upTo);
  }
  let messages = 0;
  // The disk knows instants of the world's clock, queues those of this process.
  const ahead = clock.now() - clock.monotonic();
  for (const stored of file.messages()) {
    const queue = queues.get(stored.queue);
    if (queue === undefined) continue;
    const { id, priority, expiresAt, bodyBytes } = stored;
    const entry = new Entry(
      id,
      queue,
      undefined,
      queue.markOf(priority),
      expiresAt === null ? Infinity : expiresAt - ahead,
      entrySizeBytes(bodyBytes),
    );
    entry.disk = "written";
    entry.wasHanded = entry.mark.covers(entry);
    entry.isRedelivered = entry.wasHanded;
    queue.restore(entry);
    lastId = Math.max(lastId, id);
    messages++;
  }
  return { queues: queues.size, messages, lastId };
}
