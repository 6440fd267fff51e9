/** Settings of nodes that run tasks. */
import { delimiter } from "node:path";
import type { Setting } from "../setting.ts";
import { port, queueName, size, text, wholeNumber, wordOr } from "../value.ts";
import { host, many, one, onOff, WORKERS } from "./rows.ts";

export const WORKER_SETTINGS = {
  tasks: many({
    group: "Worker",
    modes: WORKERS,
    reader: text("PATH", "the path of a file or folder"),
    separator: delimiter,
    takesMany: true,
    isPath: true,
    help: "task files, and folders of them; takes several, may be repeated",
  }),
  queues: many({
    group: "Worker",
    modes: WORKERS,
    reader: queueName,
    separator: ",",
    flagSeparator: ",",
    defaultText: "all that the tasks name",
    help: "queues to serve, with commas",
  }),
  isolates: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1, max: 1_024 }),
    defaultText: "the number of processors",
    help: "isolates that run tasks side by side",
  }),
  slots: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1, max: 10_000 }),
    fallback: 1,
    help: "tasks at once in one isolate; more than 1 is for tasks that mostly wait",
  }),
  lookAhead: one({
    group: "Worker",
    modes: WORKERS,
    reader: wordOr("auto", wholeNumber({ min: 0, max: 10_000 })),
    fallback: "auto" as const,
    help: "messages to hold beyond the free slots; auto grows while tasks are short",
  }),
  maxTasksPerIsolate: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1 }),
    defaultText: "never",
    help: "replace an isolate after so many tasks",
  }),
  maxMemory: one({
    group: "Worker",
    modes: WORKERS,
    // Whether the node fits into it shows when its first isolate is ready.
    reader: size({ minBytes: 16 * 2 ** 20, maxBytes: 2 ** 40 }),
    defaultText: "no limit",
    help: "memory of the process, such as 512M: past it the isolate that holds most is killed",
  }),
  demo: onOff({
    group: "Worker",
    modes: WORKERS,
    fallback: true,
    help: "leave out the demo tasks (math.add, sleep, echo, …)",
  }),
  taskEvents: onOff({
    group: "Worker",
    modes: WORKERS,
    fallback: false,
    help: "tell events of tasks and heartbeats on celeryev, for Celery's tools",
  }),
  // Off by default: whoever may publish on the broker could end all workers.
  remoteShutdown: onOff({
    group: "Worker",
    modes: WORKERS,
    fallback: false,
    help: 'let "celery control shutdown" end this node',
  }),
  // Off by default: a fixed port would keep a second worker on one machine from starting, and a
  // worker is to start nothing of the web that nobody asked for.
  healthPort: one({
    group: "Worker",
    modes: ["work"],
    reader: port({ min: 0 }),
    defaultText: "off",
    help: "port that answers /healthz and /readyz; 0 is any free one",
  }),
  healthHost: one({
    group: "Worker",
    modes: ["work"],
    reader: host,
    fallback: "127.0.0.1",
    help: "address of --health-port; another than loopback needs --insecure",
  }),
} as const satisfies Readonly<Record<string, Setting>>;
