/** What help says of each command: the words of a newcomer's first minute. Flags are in src/config. */
import type { Mode } from "../config/config.ts";

export interface CommandText {
  /** For the list of commands. */
  readonly brief: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly usage: string;
  /** Complete commands with what they are for; `app` becomes the program's name. */
  readonly examples: readonly (readonly [command: string, purpose: string])[];
}

export const COMMANDS: Readonly<Record<Mode, CommandText>> = {
  all: {
    brief: "Run everything in one process, with nothing installed: front, worker and broker.",
    description: [
      "Answers HTTP requests, runs their tasks in isolates, and carries messages with a broker " +
      "inside the program that keeps its data in a folder. Name a RabbitMQ to use that instead.",
      "Logs go to stderr. SIGTERM or Ctrl-C stops it when what runs has ended; a second one at once.",
    ],
    usage: "[FLAGS]",
    examples: [
      ["app all", "serve the demo tasks on http://127.0.0.1:8888"],
      ["curl -d '[1,2]' http://127.0.0.1:8888/tasks/math.add/call", "call one of them"],
      ["app all --tasks ./tasks --isolates 4 --port 8080", "serve your own"],
      ["app all --tasks ./tasks --watch", "and load them anew whenever you save one"],
    ],
  },
  serve: {
    brief: "Run a front: HTTP in, messages to RabbitMQ, answers back.",
    description: [
      "Turns HTTP requests into messages and waits for workers' answers. It runs no task itself: " +
      "start as many workers as you need with `work`, on this machine or others.",
      "Logs go to stderr. SIGTERM or Ctrl-C stops it when waiting calls have ended; a second one " +
      "at once.",
    ],
    usage: "[FLAGS]",
    examples: [
      [
        "app serve --amqp-url amqp://user:password@rabbit.example",
        "a front for this machine alone",
      ],
      ["app serve --host 0.0.0.0 --token-file token", "one that other machines may ask"],
    ],
  },
  work: {
    brief: "Run a worker: takes tasks from RabbitMQ and runs them in isolates.",
    description: [
      "Runs the tasks of your files, each attempt in an isolate that is killed when it runs past " +
      "its limit. Nothing of the web is started.",
      "Logs go to stderr. SIGTERM or Ctrl-C takes no new work and stops when what runs has ended, " +
      "or after --grace; a second one stops at once.",
    ],
    usage: "[FLAGS]",
    examples: [
      ["app work --tasks ./tasks", "every task of a folder, on the queues that they name"],
      [
        "app work --tasks mail.ts --queues mail --slots 50",
        "one queue, many waiting tasks at once",
      ],
      [
        "app work --mq-host rabbit --mq-user me --mq-password secret",
        "crew's way to name a broker",
      ],
    ],
  },
  call: {
    brief: "Call a task and print its result.",
    description: [
      "Sends one call to a front, or past any front to RabbitMQ where --amqp-url names one, and " +
      "waits for its end. The result goes to stdout, indented on a terminal and exactly as it came " +
      "elsewhere or with --json; all else goes to stderr. Ctrl-C cancels the call.",
      "A JSON array is the task's arguments, an object its one argument, anything else its single " +
      "argument. A number below zero needs -- before it.",
      "Exit codes: 0 succeeded, 1 the task failed, 2 wrong usage or no such task, 3 no front or no " +
      "broker, 4 timed out or expired.",
    ],
    usage: "[FLAGS] TASK [INPUT]",
    examples: [
      ["app call math.add '[1,2]'", "prints 3"],
      ["app call images.resize '{\"width\":64}' --timeout 10s", "stopped after 10 seconds"],
      ["app call echo - < input.json", "the input comes from a file"],
      ["app call echo -- -1", "an input that begins with a hyphen"],
      ["app call math.add '[1,2]' --amqp-url amqp://localhost", "past any front"],
    ],
  },
  tasks: {
    brief: "List the tasks that a front knows, with their queues and limits.",
    description: [
      "Asks a front which tasks its workers serve now, and which it remembers; or, where --amqp-url " +
      "names a RabbitMQ, the workers there.",
    ],
    usage: "[FLAGS]",
    examples: [
      ["app tasks", "ask the front on this machine"],
      ["app tasks --url http://front:8888 --json", "another front, for programs"],
      ["app tasks --amqp-url amqp://localhost", "past any front"],
    ],
  },
  nodes: {
    brief: "List the nodes: who is alive, late, gone or has left, and what they do.",
    description: [
      "Asks a front what its roster says; or, where --amqp-url names a RabbitMQ, the nodes there, of " +
      "whom only those that live answer.",
      "A node is late when 2 of its beacons are missing, gone when 4 are. One that sends no beacons " +
      "(--heartbeat-broadcast 0) is unknown.",
    ],
    usage: "[FLAGS]",
    examples: [
      ["app nodes", "ask the front on this machine"],
      ["app nodes --url http://front:8888 --json", "another front, for programs"],
      ["app nodes --amqp-url amqp://localhost", "past any front"],
    ],
  },
  queues: {
    brief: "List queues with what waits in them; pause, resume or purge one.",
    description: [
      "Asks a front, or past any front a RabbitMQ where --amqp-url names one, what waits in the " +
      "queues of tasks and consumers and in that of dead letters.",
      "A paused queue keeps its messages: no worker takes from it, nor one that starts later, " +
      "until it is resumed. purge removes what waits in a queue.",
    ],
    usage: "[FLAGS] [pause|resume|purge QUEUE]",
    examples: [
      ["app queues", "ask the front on this machine"],
      ["app queues pause images", "take no more from one of them"],
      ["app queues purge cox.dead-letters", "throw dead letters away"],
    ],
  },
  devices: {
    brief: "List devices, show one, or send one a line.",
    description: [
      "Asks a front which devices are connected to which node, and, where it keeps records, which " +
      "were; or, past any front, the nodes of a RabbitMQ that --amqp-url names, which know those " +
      "that are connected.",
      "show tells what became of one. send writes it a line, whichever node holds it; with --reply " +
      "it waits for the device's next line and prints that.",
      "Exit codes: 0 well, 1 the line may or may not have been written, 2 wrong usage or no such " +
      "device, 3 no front or no broker, 4 the device did not answer within --reply.",
    ],
    usage: "[FLAGS] [list | show ID | send ID LINE]",
    examples: [
      ["app devices", "those that are connected"],
      ["app devices --state offline", "those that were, and why they are not"],
      ["app devices send kiln-7 'set 21.5' --reply 2s", "prints what the device answers"],
    ],
  },
  publish: {
    brief: "Publish a message to an exchange, or to a channel.",
    description: [
      "Sends one message to an exchange by way of a front, or past any front over RabbitMQ where " +
      "--amqp-url names one. What is JSON travels as JSON, anything else as text.",
      "Without --exchange it goes to a channel, which is named before the message.",
      "Exit codes: 0 it was taken, 2 wrong usage, no such exchange or a reserved name, 3 no front or " +
      "no broker.",
    ],
    usage: "[FLAGS] --exchange NAME MESSAGE | CHANNEL MESSAGE",
    examples: [
      ["app publish --exchange shop --key order.7.paid '{\"id\":7}'", "one message with its key"],
      ["app publish --exchange news --type fanout hello", "declares the exchange first"],
      ["app publish --exchange shop - < order.json", "the message comes from a file"],
      ["app publish chat.room1 '\"hello\"'", "to a channel"],
    ],
  },
  subscribe: {
    brief: "Print what is published on channels.",
    description: [
      "Follows channels by way of a front, or past any front over RabbitMQ where --amqp-url names " +
      "one, and prints one line a message: its instant, channel and content, or with --json all of " +
      "it. A front that goes away is asked again, for what came after the last message.",
      "What may have been missed is said on stderr, and with --json in a line of its own.",
      "Exit codes: 0 by Ctrl-C or after --count, 2 wrong usage, 3 no front or no broker.",
    ],
    usage: "[FLAGS] PATTERN",
    examples: [
      ["app subscribe chat.room1", "one channel"],
      [
        "app subscribe 'orders.*' --json",
        "every channel of two words that begins so, for programs",
      ],
      ["app subscribe '#' --count 1", "the next message, whatever it is"],
      ["app subscribe 'nodes.#' --amqp-url amqp://localhost", "past any front"],
    ],
  },
  bench: {
    brief: "Load a front with calls or jobs, and tell how it bore them.",
    description: [
      "Sends requests to one task of a front, many at once, each on a connection of its own, and " +
      "prints the share that succeeded, the rate, percentiles, a histogram and the failures by " +
      "type. A request starts when the one before it on its connection has ended: what a stalled " +
      "front would have been sent meanwhile is not counted.",
      "Ctrl-C tells what was done so far. Exit codes: 0 every request succeeded, 1 some did not, " +
      "2 wrong usage, 3 no front.",
    ],
    usage: "[FLAGS] TASK [INPUT]",
    examples: [
      ["app bench echo '[\"hello\"]'", "1,000 calls, 10 at a time"],
      ["app bench sleep '[1]' --requests 3000 --concurrency 100 --jobs", "jobs, each to its end"],
    ],
  },
  job: {
    brief: "Submit, show, list, cancel, retry or watch jobs.",
    description: [
      "Asks a front. submit prints the job's id; with --wait it waits for the end and prints the " +
      "result. get shows a job, list the youngest ones. cancel keeps a job from running, or stops " +
      "it; retry tries one again that has ended. watch follows one to its end.",
      "Exit codes: 0 well; 1 the job failed or was cancelled, 4 it timed out, expired or did not " +
      "end within --wait (where its end was waited for); 2 wrong usage, no such job or task; 3 no " +
      "front, broker or store.",
    ],
    usage: "[FLAGS] submit TASK [INPUT] | list | get|cancel|retry|watch ID",
    examples: [
      ["app job submit images.resize '{\"width\":64}' --delay 10m", "prints the job's id"],
      ["app job submit math.add '[1,2]' --wait 30s", "prints 3"],
      ["app job list --state queued,running --task images.resize", "what is under way"],
      ["app job watch 01900000-0000-7000-8000-000000000000", "its progress, to its end"],
    ],
  },
  "dead-letters": {
    brief: "List and show jobs that were given up; retry or purge them.",
    description: [
      "Asks a front for the jobs that no attempt is left for, that were refused or that killed their " +
      "worker, with their stories. One is named by its id; many need --every, or --task.",
    ],
    usage: "[FLAGS] [list | show ID | retry [ID] | purge [ID]]",
    examples: [
      ["app dead-letters", "list them"],
      ["app dead-letters retry --task images.resize", "try all of one task again"],
      ["app dead-letters purge --every", "throw all of them away"],
    ],
  },
  schedules: {
    brief: "List schedules; run one now, pause or resume it.",
    description: ["Asks a front when schedules fire next, and when they did last."],
    usage: "[FLAGS] [list | run|pause|resume NAME]",
    examples: [
      ["app schedules", "list them"],
      ["app schedules run nightly", "make its job now"],
    ],
  },
};

export const PROGRAM_BRIEF =
  "Coxswain answers the web, hands slow work to workers over RabbitMQ, and stops work that will " +
  "not stop itself.";

export const PROGRAM_NOTES: readonly string[] = [
  "Every flag has a variable and a key in coxswain.json: --amqp-url is COX_AMQP_URL and amqpUrl. " +
  "Flags go before variables, variables before the file.",
];
