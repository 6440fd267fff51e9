/** What Celery's tools are told of a worker's settings, in Celery's words and without secrets. */
import type { WorkerFacts } from "../../celery/control/panel.ts";
import type { BrokerConfig, WorkerConfig } from "../../config/config.ts";
import { VERSION } from "../../version.ts";

export function celeryFacts(worker: WorkerConfig, broker: BrokerConfig): WorkerFacts {
  const { url, ...facts } = brokerFacts(broker);
  return {
    version: VERSION,
    broker: facts,
    conf: {
      broker_url: url,
      result_backend: "rpc://",
      task_serializer: "json",
      result_serializer: "json",
      accept_content: ["json"],
      enable_utc: true,
      timezone: "UTC",
      worker_pool: "coxswain:isolates",
      worker_concurrency: worker.isolates * worker.slots,
      worker_max_tasks_per_child: worker.maxTasksPerIsolate ?? null,
      worker_send_task_events: worker.tellsEvents,
      worker_enable_remote_control: true,
      task_acks_late: true,
      task_queues: worker.queues ?? null,
      include: worker.taskPaths,
    },
  };
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "amqp:": 5672, "amqps:": 5671 };

/** The members of Celery's `stats()["broker"]`. */
function brokerFacts(broker: BrokerConfig) {
  if (broker.kind === "embedded") {
    return { url: "embedded", transport: "embedded", hostname: null, port: null };
  }
  const url = new URL(broker.url);
  const { protocol, hostname, port, username, pathname } = url;
  const vhost = decodeURIComponent(pathname.slice(1)) || "/";
  return {
    url: `${protocol}//${username === "" ? "" : `${username}:********@`}${url.host}${pathname}`,
    hostname,
    userid: decodeURIComponent(username) || "guest",
    virtual_host: vhost,
    port: Number(port) || DEFAULT_PORTS[protocol] || null,
    ssl: protocol === "amqps:",
    transport: "amqp",
    login_method: "PLAIN",
    transport_options: {},
    alternates: [],
  };
}
