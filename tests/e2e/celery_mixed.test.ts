/** Workers of Celery's and of ours beside each other: one queue for both, chains through both. */
import { expect, test } from "bun:test";
import { celeryVhost, python, startCeleryWorker } from "../../scripts/services/celery.ts";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { startNode, until } from "../support/app.ts";

const TASKS = new URL("../support/tasks/celery.ts", import.meta.url).pathname;
const PATIENCE_MS = 120_000;
const COUNT = 6;

test(
  "a task that the other kind of worker draws reaches its own, or is told and kept",
  async () => {
    const rabbit = await sharedRabbitMq();
    const url = celeryVhost(rabbit, "celery-mixed");
    const celery = { url, settings: { task_default_queue: "mixed" } };
    // Celery declares its queues without arguments; a policy gives this one its dead letters all the same.
    const policy = JSON.stringify({ "dead-letter-exchange": "cox.dead" });
    rabbit.ctl(
      "set_policy",
      "-p",
      "celery-mixed",
      "dead",
      "^mixed$",
      policy,
      "--apply-to",
      "queues",
    );
    const broker = ["--amqp-url", url];
    await using front = await startNode(["serve", "--port", "0", ...broker]);
    await using worker = await startNode(
      ["work", ...broker, "--tasks", TASKS, "--isolates", "1"]
        .concat("--queues", "mixed,ours", "--plain-queues", "mixed,ours"),
    );
    await using theirs = await startCeleryWorker({ ...celery, queues: ["mixed"] });

    const lines = await python("import mixed", {
      ...celery,
      args: [String(COUNT), "mixed", "ours"],
    });
    const told = new Map(lines.map((line) => [line.scenario, line.told as Record<string, number>]));

    // Ours gives on what it does not have, until Celery's draws it.
    expect(told.get("late")).toEqual({ value: COUNT });
    // Celery's rejects what it does not have, and says so; the queue's dead letters keep it.
    const { value = 0, "celery.exceptions.NotRegistered": rejected = 0, ...other } =
      told.get("double") ?? {};
    expect({ ran: value + rejected, other }).toEqual({ ran: COUNT, other: {} });
    const letters = async () => {
      const response = await fetch(`${front.url}/dead-letters?limit=100`);
      return (await response.json() as { task: string }[]).map(({ task }) => task);
    };
    await until(async () => (await letters()).length >= rejected, "the dead letters");
    expect(await letters()).toEqual(Array(rejected).fill("tasks.double"));
    // Where each has a queue of its own, nothing is lost.
    expect(told.get("chain")).toMatchObject({ value: 41, state: "SUCCESS" });
    expect(worker.isRunning && theirs.isRunning).toBe(true);
  },
  PATIENCE_MS,
);

test("a queue that Celery has declared is used as it is, with one warning", async () => {
  const rabbit = await sharedRabbitMq();
  const url = celeryVhost(rabbit, "celery-legacy");
  const answers = python(
    `from kombu import Exchange, Queue

legacy = Queue(
    "legacy", Exchange("topics", type="topic"), "app.#", queue_arguments={"x-max-priority": 9}
)
first = app.send_task("tasks.add", args=(1, 2), queue=legacy, routing_key="app.x")
emit(**outcome(first, 60))
emit(**outcome(app.send_task("tasks.add", args=(2, 3), queue=legacy, routing_key="app", priority=5)))
# Ours, which it is not to declare.
ours = Queue("celery-ours", no_declare=True)
emit(**outcome(app.send_task("tasks.add", args=(3, 4), queue=ours)))
# The same, declared as ours is.
alike = Queue(
    "celery-ours",
    queue_arguments={"x-dead-letter-exchange": "cox.dead", "x-max-priority": 10},
)
emit(**outcome(app.send_task("tasks.add", args=(4, 5), queue=alike)))`,
    { url },
  );
  await until(
    () => rabbit.ctl("list_queues", "-p", "celery-legacy", "name").includes("legacy"),
    "the queue that Celery's client declares",
  );
  await using worker = await startNode(
    ["work", "--amqp-url", url, "--tasks", TASKS, "--isolates", "1", "--queues"]
      .concat("legacy,celery-ours"),
  );
  expect(await answers).toEqual([
    { value: 3, state: "SUCCESS" },
    { value: 5, state: "SUCCESS" },
    { value: 7, state: "SUCCESS" },
    { value: 9, state: "SUCCESS" },
  ]);
  const warnings = worker.log.split("\n").filter((line) =>
    line.includes('"WARN"') && line.includes("exists with other arguments and is used as it is")
  );
  expect(warnings.length).toBe(1);
}, PATIENCE_MS);
