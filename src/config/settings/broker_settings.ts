/** Settings of the broker: which one, how it is reached, and what is declared on it. */
import { exchangesReader } from "../exchanges_setting.ts";
import { routesReader } from "../routes_setting.ts";
import type { Setting } from "../setting.ts";
import { choice, duration, port, queueName, text, urlOf } from "../value.ts";
import { BROKER, file, host, many, NODES, one, structure } from "./rows.ts";

export const BROKER_SETTINGS = {
  amqpUrl: one({
    group: "Broker",
    modes: BROKER,
    reader: urlOf(["amqp:", "amqps:"], "amqp://user:password@host:5672/vhost"),
    // Its password, where it is misspelt in a way that hides where it begins.
    isSecret: true,
    defaultText: { serve: "amqp://localhost:5672", work: "amqp://localhost:5672" },
    help: "RabbitMQ to use",
    helpIn: {
      all: "RabbitMQ to use instead of the broker inside the program",
      call: "send the call over this RabbitMQ, past any front",
      tasks: "ask the nodes on this RabbitMQ, past any front",
      nodes: "ask the nodes on this RabbitMQ, past any front",
      queues: "ask this RabbitMQ and its nodes, past any front",
      devices: "ask this RabbitMQ and its nodes, past any front",
      publish: "publish over this RabbitMQ, past any front",
      subscribe: "subscribe over this RabbitMQ, past any front",
    },
  }),
  mqHost: one({
    group: "Broker",
    modes: BROKER,
    reader: host,
    help: "host of RabbitMQ; the --mq-… flags together are another way to write --amqp-url",
  }),
  mqPort: one({
    group: "Broker",
    modes: BROKER,
    reader: port({ min: 1 }),
    help: "port of RabbitMQ",
  }),
  mqUser: one({
    group: "Broker",
    modes: BROKER,
    reader: text("USER"),
    help: "user of RabbitMQ",
  }),
  mqPassword: one({
    group: "Broker",
    modes: BROKER,
    reader: text("PASSWORD"),
    isSecret: true,
    help: "password of RabbitMQ; a variable keeps it out of the list of processes",
  }),
  mqVhost: one({
    group: "Broker",
    modes: BROKER,
    reader: text("VHOST"),
    help: "virtual host of RabbitMQ",
  }),
  amqpCa: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "certificate authorities (PEM) to trust for amqps, instead of the system's",
  }),
  amqpCert: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "own certificate (PEM) for amqps, with --amqp-key",
  }),
  amqpKey: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "key (PEM) of --amqp-cert",
  }),
  queueType: one({
    group: "Broker",
    modes: NODES,
    reader: choice("TYPE", ["classic", "quorum"]),
    fallback: "classic" as const,
    help: "kind of queue to declare, the same for all nodes: classic knows priorities, quorum is " +
      "replicated",
  }),
  plainQueues: many({
    group: "Broker",
    modes: NODES,
    reader: queueName,
    separator: ",",
    flagSeparator: ",",
    defaultText: "celery",
    help: "queues that Celery's programs declare too, with commas: durable, without any arguments",
  }),
  connectTimeout: one({
    group: "Broker",
    modes: BROKER,
    reader: duration({ minMs: 1 }),
    defaultText: {
      all: "30s",
      serve: "30s",
      work: "30s",
      call: "5s",
      tasks: "5s",
      nodes: "5s",
      queues: "5s",
      devices: "5s",
      publish: "5s",
      subscribe: "5s",
    },
    help: "how long to wait for RabbitMQ before giving up",
  }),
  exchanges: structure({
    group: "Broker",
    modes: NODES,
    reader: exchangesReader,
    defaultText: "none",
    help: 'exchanges to declare at the start, such as {"orders":"topic"}; best kept in the file',
  }),
  routes: structure({
    group: "Broker",
    modes: [...NODES, "call"],
    reader: routesReader,
    defaultText: "none",
    help:
      'queues of tasks that others serve, such as {"reports.*":"celery"}; the first that fits ' +
      "wins; best kept in the file",
  }),
  data: one({
    group: "Broker",
    modes: NODES,
    reader: text("DIR", "the path of a folder"),
    isPath: true,
    fallback: "coxswain-data",
    defaultText: "./coxswain-data",
    help: "folder of the broker inside the program, and of job records in SQLite",
    helpIn: {
      serve: "folder of job records in SQLite",
      work: "folder of job records in SQLite, with --recorder",
    },
  }),
} as const satisfies Readonly<Record<string, Setting>>;
