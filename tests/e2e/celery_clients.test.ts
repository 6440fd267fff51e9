/**
 * A real Celery client calls our tasks. The scenarios are Python's (tests/fixtures/celery), named after
 * the captures of what Celery sends; docs/celery.md lists them all.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { celeryVhost, python } from "../../scripts/services/celery.ts";
import { type RabbitMq, sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode } from "../support/app.ts";

const TASKS = new URL("../support/tasks/celery.ts", import.meta.url).pathname;
/** A start of Python's and a few seconds of scenarios, on a machine three times slower. */
const PATIENCE_MS = 120_000;

interface Told {
  readonly value?: unknown;
  readonly state?: string;
  readonly raised?: string;
  readonly message?: string;
  readonly args?: readonly unknown[];
  readonly traceback?: string | null;
  readonly [more: string]: unknown;
}

let rabbit: RabbitMq;
let url: string;
let worker: App;

beforeAll(async () => {
  rabbit = await sharedRabbitMq();
  url = celeryVhost(rabbit, "celery-clients");
  worker = await startNode(
    ["work", "--amqp-url", url, "--tasks", TASKS, "--isolates", "1"],
  );
}, PATIENCE_MS);

afterAll(async () => {
  await worker?.[Symbol.asyncDispose]();
});

/** Runs a file of scenarios in one Python. */
async function scenarios(
  file: string,
  ...args: readonly string[]
): Promise<(name: string) => Told> {
  const lines = await python(`import ${file}`, { url, args });
  const told = new Map(lines.map((line) => [line.scenario, line.told as Told]));
  return (name) => {
    const found = told.get(name);
    if (found === undefined) throw new Error(`${file}.py has no scenario ${name}`);
    return found;
  };
}

describe("a call of a Celery client", () => {
  let told: (name: string) => Told;
  beforeAll(async () => {
    told = await scenarios("calls");
  }, PATIENCE_MS);

  test.each([
    ["task_success", 3],
    ["task_delay_signature", 5],
    ["task_expires_seconds", 3],
    ["task_countdown", 3],
    ["task_eta", 3],
    ["task_time_limits_ok", 3],
    ["task_compression_gzip", 3],
    ["task_result_compression", 3],
    ["task_retry_then_success", { retries: 2 }],
  ])("%s returns its value", (name, value) => {
    expect(told(name)).toMatchObject({ value, state: "SUCCESS" });
  });

  test("hands over positional arguments, and the named ones as an object after them", () => {
    expect(told("task_args_kwargs").value).toMatchObject({
      args: [1, "two", null, 3.5, true, "héllo ☃", [1, { a: "b" }], { k: "v", n: { x: 1 } }],
    });
    expect(told("task_json_types").value).toMatchObject({
      args: ["2026-01-02T03:04:05Z", 1.2345678901234567e19],
    });
  });

  test("may have a priority, and a task that asks for another", () => {
    expect(told("task_priority").value).toMatchObject({ args: [1] });
    expect(told("task_spawn_child").value).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  test("has its own headers in the task's context, numbers as text", () => {
    expect(told("task_headers_shadow").value).toMatchObject({
      id: "11111111-1111-1111-1111-111111111111",
      headers: { "x-user": "7", "x-count": "5" },
    });
  });

  test.each(["task_countdown", "task_eta"])("%s is not begun before its time", (name) => {
    expect(told(name).seconds).toBeGreaterThan(0.45);
  });

  test.each([
    ["task_failure_builtin", "builtins.ValueError", ["boom"]],
    ["task_failure_custom", "celery.exceptions.CustomError", ["own"]],
    ["task_failure_odd", "celery.exceptions.list", ["odd"]],
    ["task_hard_time_limit_hit", "billiard.exceptions.TimeLimitExceeded", [0.3]],
    [
      "task_soft_time_limit_hit",
      "billiard.exceptions.SoftTimeLimitExceeded",
      ["The task ran past its soft limit"],
    ],
    ["task_retry_exhausted", "celery.exceptions.MaxRetriesExceededError", ["not yet"]],
    ["task_unknown", "celery.exceptions.NotRegistered", ["tasks.nosuch"]],
    ["task_reject", "celery.exceptions.Reject", ["no thanks", false]],
  ])("%s raises %s", (name, raised, args) => {
    expect(told(name)).toMatchObject({ raised, args, state: "FAILURE" });
  });

  test("has the stack of its error as its traceback", () => {
    expect(told("task_failure_builtin").traceback).toContain("ValueError: boom\n    at ");
  });

  test.each([
    ["task_expires_past", "expired"],
    ["revoke_before_start", "terminated"],
    ["revoke_terminate", "terminated"],
    ["revoke_terminate_sigkill", "terminated"],
  ])("%s raises TaskRevokedError", (name, reason) => {
    expect(told(name)).toMatchObject({
      raised: "celery.exceptions.TaskRevokedError",
      args: [reason],
      state: "REVOKED",
    });
  });

  test.each([
    ["task_protocol1", "it is not of Celery's task protocol 2"],
    ["task_compression_bzip2", "application/x-bz2: only application/x-gzip is read"],
    ["task_serializer_pickle_refused", "application/x-python-serialize: only application/json"],
    ["task_serializer_yaml", "application/x-yaml: only application/json"],
    ["infinity", "Python writes Infinity and NaN, which JSON does not have"],
  ])("%s is refused with the reason", (name, reason) => {
    const { raised, message, state } = told(name);
    expect({ raised, state }).toEqual({
      raised: "kombu.exceptions.ContentDisallowed",
      state: "FAILURE",
    });
    expect(message).toContain(reason);
  });

  test("a large answer to a compressed call is compressed too", () => {
    expect(told("task_compression_large")).toEqual({ value: 100_000 });
  });

  test.each(["task_ignore_result_call", "task_ignore_result_task"])("%s has no answer", (name) => {
    expect(told(name)).toEqual({ value: null });
  });

  test("hears how far the task is", () => {
    const { value, seen } = told("task_progress_state");
    expect(value).toBe("done");
    expect(seen).toMatchObject([
      { status: "PROGRESS", result: { fraction: 0.5, message: "half of it" } },
      { status: "SUCCESS" },
    ]);
  });
});

describe("a canvas of a Celery client", () => {
  let told: (name: string) => Told;
  beforeAll(async () => {
    told = await scenarios("canvases");
  }, PATIENCE_MS);

  test("a chain hands each result to the next step, and knows its children", () => {
    expect(told("canvas_chain")).toMatchObject({
      value: 112,
      parents: [12, 2],
      children: [true, true],
    });
    expect(told("chain_of_chains").value).toBe(1112);
  });

  test("a chain whose first step fails or is too late fails for who waits for the last", () => {
    const { raised, first, notes } = told("canvas_chain_error");
    expect({ raised, notes }).toEqual({ raised: "builtins.ValueError", notes: [[first]] });
    expect(told("chain_expired").raised).toBe("celery.exceptions.TaskRevokedError");
  });

  test("a group runs side by side, alone and after a task", () => {
    expect(told("canvas_group").value).toEqual([0, 2, 4]);
    expect(told("chain_to_group").value).toEqual([12, 102]);
  });

  test("callbacks get the result before their own arguments, unless they are immutable", () => {
    expect(told("task_link")).toMatchObject({
      value: 3,
      children: 2,
      notes: [["immutable"], [3, "partial"]],
    });
    expect(told("link_chain").notes).toEqual([[113]]);
    expect(told("link_group").notes).toEqual([[3, "a"], [3, "b"]]);
  });

  test("an errback gets the id of what failed, or the failure where it has places for it", () => {
    const old = told("link_error_old");
    expect(old.notes).toEqual([[old.id, "with"]]);
    const present = told("link_error_new");
    expect(present.notes).toEqual([[
      { id: present.id, task: "tasks.fail", root_id: present.id },
      { exc_type: "ValueError", exc_message: ["boom"], exc_module: "builtins" },
      "string",
    ]]);
    const killed = told("link_error_of_limits");
    expect(killed.notes).toEqual([[killed.id]]);
  });

  test("numbers that JavaScript does not have pass through it unharmed", () => {
    expect(told("link_of_numbers").next).toEqual([3, "12345678901234567890", "1.0"]);
  });

  test("a step may go to a queue that is not there yet: it waits for whoever serves it", () => {
    expect(told("chain_of_queues")).toEqual({ isLast: true, args: [2, 10] });
  });

  test("a chord is refused: by Celery's own client over rpc, and by the worker with an answer", () => {
    expect(told("canvas_chord_rpc_refused").refused).toContain("does not support chords");
    expect(told("canvas_chord_fs_backend")).toMatchObject({
      raised: "kombu.exceptions.ContentDisallowed",
      message:
        "It belongs to a chord, which needs a result store that counts: results here go over rpc",
    });
    const { raised, last } = told("canvas_group_chain_fs_backend");
    expect(raised).toBe("kombu.exceptions.ContentDisallowed");
    expect(last).toMatchObject({ raised: "kombu.exceptions.ContentDisallowed" });
  });
});

describe("a message that no Celery worker can run", () => {
  const RUN = [
    "x-match",
    "an int16 header",
    "retries as text",
    "limits that are none",
    "limits below nothing",
    "a content type with a charset",
  ];

  test("is dead-lettered with a reason and answered, or run; the worker goes on", async () => {
    const before = depth("cox.dead-letters");
    const cases = await python("import hostile", { url, args: ["celery"] });
    const refused = cases.filter(({ case: name }) => !RUN.includes(String(name)));
    for (const { case: name, status, result } of refused) {
      expect({ name, status, result }).toMatchObject({
        status: "FAILURE",
        result: { exc_type: "ContentDisallowed", exc_module: "kombu.exceptions" },
      });
    }
    for (const { case: name, status, result } of cases) {
      if (RUN.includes(String(name))) {
        expect({ name, status, result }).toEqual({ name, status: "SUCCESS", result: 3 });
      }
    }
    expect(cases.length).toBe(31);
    expect(depth("cox.dead-letters")).toBe(before + refused.length);
    expect(depth("celery")).toBe(0);
    expect(worker.isRunning).toBe(true);
  }, PATIENCE_MS);
});

describe("a delay that a Celery client asks for", () => {
  test("is kept by the records of a front, and seen and cancelled there", async () => {
    await using front = await startNode(["serve", "--port", "0", "--amqp-url", url]);
    const told = await scenarios("delays", front.url);

    expect(told("countdown")).toMatchObject({
      value: 3,
      record: { state: "succeeded", attempt: 1, input: [1, 2], result: 3 },
    });
    expect(told("carries").value).toMatchObject({ headers: { "x-user": "7", "x-count": "5" } });
    expect(told("notes").notes).toEqual([[
      (told("carries").record as { id: string }).id,
      "after",
    ]]);
    // Ours alone are tried again by themselves.
    expect(told("fails_once")).toMatchObject({
      raised: "builtins.ValueError",
      record: { state: "failed", attempt: 1 },
    });
    expect(told("ignored").record).toMatchObject({ state: "succeeded" });
    expect(told("retries")).toMatchObject({
      value: { retries: 2 },
      record: { state: "succeeded", attempt: 3 },
    });
    expect(told("retries_exhausted")).toMatchObject({
      raised: "celery.exceptions.MaxRetriesExceededError",
      record: { state: "failed", attempt: 3 },
    });
    expect(told("chain_with_a_pause").value).toBe(112);
    expect(told("cancelled").raised).toBe("celery.exceptions.TaskRevokedError");
    expect(told("expired")).toMatchObject({
      raised: "celery.exceptions.TaskRevokedError",
      args: ["expired"],
    });
  }, PATIENCE_MS);
});

/** Messages that are ready in a queue. */
function depth(queue: string): number {
  const lines = rabbit.ctl("list_queues", "-p", "celery-clients", "name", "messages_ready").split(
    "\n",
  );
  const line = lines.find((one) => one.startsWith(`${queue}\t`));
  return Number(line?.split("\t")[1] ?? 0);
}
