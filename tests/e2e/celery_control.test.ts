/**
 * Celery's own tools see and steer workers of ours: its command line, its Python clients, and a worker
 * of Celery's beside ours. A start of Python costs a second, so each driver asks many things.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  celery,
  celeryVhost,
  python,
  spawnCelery,
  startCeleryWorker,
} from "../../scripts/services/celery.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import scenarios from "../fixtures/celery/control_scenarios.json" with { type: "json" };
import { type App, startNode, until } from "../support/app.ts";
import { type Folder, makeFolder } from "../support/folders.ts";

/** What a worker of ours is called among Celery's. */
const OURS = "coxswain@w1";
const QUEUE = "jobs";

const TASKS = `
import { task, Retry, context } from "coxswain";
const on = { queue: "${QUEUE}" };
task("tasks.add", on, (a: number, b: number) => a + b);
task("tasks.fail", on, (message: string) => { throw new TypeError(message); });
task("tasks.sleep", on, (ms: number) => new Promise((done, fail) => {
  setTimeout(done, ms);
  context.signal.addEventListener("abort", () => fail(context.signal.reason));
}));
task("tasks.spin", on, () => { while (true); });
task("tasks.again", { ...on, retry: { limit: 2, backoff: "fixed", base: "10ms" } }, () => {
  if (context.attempt === 1) throw new Retry();
  return "done";
});
task("tasks.secret", { ...on, redact: { input: true, result: true } }, (word: string) => word);
`;

/** Sends to a queue of ours as it is: a Celery client would declare it with other arguments. */
const PREAMBLE = `
import threading
from kombu import Queue
OURS = '${OURS}'
Q = Queue('${QUEUE}', no_declare=True)
control = app.control
inspect = control.inspect(destination=[OURS], timeout=10, limit=1)

def send(name, *args, **options):
    return app.send_task(name, args=list(args), queue=Q, **options)

def ask(method, destination=OURS, limit=1, timeout=10, **arguments):
    """Our worker's answer."""
    replies = control.broadcast(method, arguments=arguments, reply=True, limit=limit,
                                timeout=timeout, destination=destination and [destination])
    return replies[0][OURS] if replies else None

def until(what, is_so):
    deadline = time.time() + 20
    while True:
        value = is_so()
        if value: return value
        if time.time() > deadline: raise Exception('waited 20 s for ' + what)
        time.sleep(0.05)
`;

let rabbit: RabbitMq;
let url: string;
let folder: Folder;
let worker: App;

beforeAll(async () => {
  rabbit = await startRabbitMq();
  url = celeryVhost(rabbit, "control");
  folder = await makeFolder({ "tasks.ts": TASKS });
  worker = await startWorker("w1", ["--task-events", "--isolates", "1", "--look-ahead", "4"]);
}, 60_000);

afterAll(async () => {
  await worker?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await rabbit?.dispose();
}, 60_000);

function startWorker(id: string, args: readonly string[]): Promise<App> {
  return startNode([
    ...[
      "work",
      "--amqp-url",
      url,
      "--node-id",
      id,
      "--no-demo",
      "--tasks",
      folder.file("tasks.ts"),
    ],
    ...args,
  ]);
}

async function drive(
  script: string,
  args: readonly string[] = [],
): Promise<ReadonlyMap<string, unknown>> {
  const lines = await python(`${PREAMBLE}\n${script}`, { url, args });
  return new Map(lines.map(({ name, value }) => [String(name), value]));
}

/**
 * How a worker of ours answers each captured command: as Celery's did, with the same members, or with
 * another text, for the reason given. docs/celery.md has the same table.
 */
const ANSWERS: Readonly<Record<string, "same" | "members" | "none" | "elsewhere" | RegExp>> = {
  inspect_ping: "same",
  inspect_ping_json: "same",
  inspect_ping_two: "same",
  status: "same",
  inspect_ping_destination: "same",
  inspect_ping_destination_none: "none",
  control_pattern: "none",
  control_pattern_miss: "none",
  inspect_active_idle: "same",
  inspect_clock: "members",
  inspect_conf: /"broker_url": ?"amqp:\/\/guest:\*{8}@/,
  inspect_report: /software -> coxswain:/,
  inspect_stats: /"max-concurrency": ?1/,
  inspect_registered: /^\["tasks.add","tasks.again",/,
  inspect_registered_attrs: /tasks.again \[max_retries=2\]/,
  inspect_active_queues: /"name":"jobs"/,
  // What was revoked in this order before.
  inspect_revoked: /^\["dddddddd-[^"]*1","dddddddd-[^"]*2"\]$/,
  control_revoke: "same",
  control_terminate: "same",
  control_time_limit: "same",
  control_rate_limit: /^{"error":"rate limits are not supported/,
  control_rate_limit_reset: "same",
  control_add_consumer: "same",
  control_cancel_consumer: "same",
  control_autoscale_error: "same",
  // They are on from the start here, and are asked for in this order.
  control_disable_events: /^{"ok":"task events disabled"}$/,
  control_enable_events: /^{"ok":"task events enabled"}$/,
  control_enable_events_again: "same",
  control_heartbeat: "same",
  control_unknown_command: "same",
  // Of requests that are held: a test of its own.
  inspect_active: "elsewhere",
  inspect_reserved: "elsewhere",
  inspect_scheduled: "elsewhere",
  inspect_query_task: "elsewhere",
  control_shutdown: /^{"error":"remote shutdown is not allowed/,
  control_pool_grow: "same",
  control_pool_shrink: "same",
  second_worker_mingle: "members",
};
describe("remote control", () => {
  test("answers every captured command as Celery's worker did, or with a reason", async () => {
    const asked = scenarios.filter(({ scenario }) => ANSWERS[scenario] !== "elsewhere");
    const answers = await drive(
      `
for s in json.loads(sys.argv[1]):
    c = s['command']
    destination = c['destination'] or (None if c['pattern'] else ['w1@cap'])
    destination = destination and [OURS if d in ('w1@cap', 'w2@cap') else d for d in destination]
    replies = control.broadcast(c['method'], arguments=c['arguments'], reply=True, limit=1,
        destination=destination, pattern=c['pattern'], matcher=c['matcher'],
        timeout=0.5 if s['answer'] == 'none' else 10)
    emit(name=s['scenario'], value=[r.get(OURS) for r in replies])
`,
      [JSON.stringify(asked.map((row) => ({ ...row, answer: answerKind(row.scenario) })))],
    );
    for (const { scenario, reply } of asked) {
      const expected = ANSWERS[scenario];
      const value = answers.get(scenario);
      const theirs: unknown = Object.values(reply ?? {})[0];
      if (expected === "none") expect([scenario, value]).toEqual([scenario, []]);
      else if (expected === "same") expect([scenario, value]).toEqual([scenario, [theirs]]);
      else if (expected === "members") {
        expect([scenario, members(Array.isArray(value) ? value[0] : undefined)])
          .toEqual([scenario, members(theirs)]);
      } else {
        expect(Array.isArray(value) ? JSON.stringify(value[0]) : undefined).toMatch(
          expected ?? /a rule for this scenario/,
        );
      }
    }
    expect(scenarios.map(({ scenario }) => scenario).toSorted())
      .toEqual(Object.keys(ANSWERS).toSorted());
  }, 60_000);

  test("shows what is held, and revokes it", async () => {
    const told = await drive(
      `
running = send('tasks.sleep', 60000)
waiting = send('tasks.add', 1, 2)
later = send('tasks.add', 3, 4, countdown=3600)
secret = send('tasks.secret', 'hush', countdown=3600)
def of(method, id):
    return until(method, lambda: next((r for r in ask(method)
        if (r.get('request') or r)['id'] == id), None))
active = of('active', running.id)
emit(name='active', value=active)
emit(name='reserved', value=of('reserved', waiting.id))
emit(name='scheduled', value=of('scheduled', later.id))
emit(name='secret', value=of('scheduled', secret.id))
states = ask('query_task', ids=[running.id, later.id, 'unknown'])
emit(name='query', value=[states[running.id][0], states[later.id][0], len(states)])
emit(name='revoke', value=[ask('revoke', task_id=later.id),
    ask('terminate', task_id=[running.id], signal='SIGKILL')])
emit(name='running', value=outcome(running))
emit(name='waiting', value=outcome(waiting))
emit(name='revoked', value=sorted(ask('revoked')) == sorted([later.id, running.id, *json.loads(sys.argv[1])]))
emit(name='ids', value=[running.id, waiting.id, later.id])
`,
      [JSON.stringify(revokedBefore())],
    );
    const [running, waiting, later] = told.get("ids") as string[];
    const request = (id: string | undefined, name: string, args: unknown[]) => ({
      id,
      name,
      args,
      kwargs: {},
      type: name,
      hostname: OURS,
      acknowledged: false,
      delivery_info: {
        exchange: "",
        routing_key: QUEUE,
        priority: 0,
        redelivered: expect.any(Boolean),
      },
    });
    expect(told.get("active")).toEqual({
      ...request(running, "tasks.sleep", [60_000]),
      time_start: expect.any(Number),
      worker_pid: worker.pid,
    });
    const idle = { time_start: null, worker_pid: null };
    expect(told.get("reserved")).toEqual({ ...request(waiting, "tasks.add", [1, 2]), ...idle });
    expect(told.get("scheduled")).toEqual({
      eta: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$/),
      priority: 0,
      request: { ...request(later, "tasks.add", [3, 4]), ...idle },
    });
    expect(told.get("secret")).toMatchObject({ request: { args: ["<redacted>"], kwargs: {} } });
    expect(told.get("query")).toEqual(["active", "reserved", 2]);
    expect(told.get("revoke")).toEqual([
      { ok: `tasks ${later} flagged as revoked` },
      { ok: `terminate: ${running}` },
    ]);
    expect(told.get("running")).toMatchObject({
      raised: "celery.exceptions.TaskRevokedError",
      state: "REVOKED",
    });
    expect(told.get("waiting")).toMatchObject({ value: 3 });
    expect(told.get("revoked")).toBe(true);
  }, 60_000);

  test("steers: queues, limits, events, shutdown; what is hostile harms nothing", async () => {
    await using ending = await startWorker("w2", ["--queues", "other", "--remote-shutdown"]);
    const told = await drive(
      `
def revoked_at_w2():
    replies = control.broadcast('revoked', reply=True, limit=1, timeout=10, destination=['coxswain@w2'])
    return set(json.loads(sys.argv[1])) <= set(replies[0]['coxswain@w2'])
emit(name='mingled', value=until('what was revoked to be known', revoked_at_w2))
def queues(): return [q['name'] for q in ask('active_queues')]
emit(name='refused', value=[ask('add_consumer', queue='cox.dead'), ask('add_consumer', queue=7),
    ask('add_consumer', queue='x', exchange='x', exchange_type='odd'), ask('time_limit', task_name='tasks.spin', hard=-1),
    ask('time_limit', task_name='none', hard=1), ask('rate_limit', task_name='none', rate_limit='1/s')])
# Celery's own command and declaration, after which its clients need not know our arguments.
emit(name='added', value=[ask('add_consumer', queue='extra', exchange='ex', exchange_type='topic', routing_key='a.#'), queues()])
with app.connection_for_write() as connection:
    Queue('extra', exchange='', durable=True)(connection).queue_declare(passive=True)
    result = app.send_task('tasks.add', args=[1, 2], exchange='ex', routing_key='a.b', declare=[])
    emit(name='extra', value=outcome(result))
    emit(name='cancelled', value=[ask('cancel_consumer', queue='extra'), queues()])
    producer = connection.Producer()
    def hostile(body, **options):
        producer.publish(body, exchange='celery.pidbox', routing_key='', **{'content_type': 'application/json', 'content_encoding': 'utf-8', **options})
    for body in ('{garbage', '[]', '{}', '{"method": 7}', '{"method": "ping", "arguments": []}',
            '{"method": "ping", "destination": "all"}', '{"method": "__proto__", "arguments": {}}',
            '{"method": "ping", "pattern": "(a+)+$", "matcher": "pcre"}', '{"method": "ping", "pattern": "[", "matcher": "pcre"}',
            '{"method": "ping", "pattern": "*", "matcher": "odd"}',
            '{"method": "ping", "arguments": {}, "reply_to": {"exchange": "nowhere", "routing_key": "x"}}',
            '{"method": "ping", "arguments": {}, "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "nobody"}}',
            '{"method": "revoke", "arguments": {"task_id": [{}]}}'):
        hostile(body)
    hostile(bytes([255, 254]), content_type='application/data', content_encoding='binary')
    hostile('x' * 9000000)
# Room for one more beside one that runs for long.
sleeps = send('tasks.sleep', 60000)
until('it to run', lambda: ask('active'))
emit(name='grown', value=[ask('pool_grow', n=1), outcome(send('tasks.add', 4, 5)), ask('stats')['pool']['max-concurrency'],
    ask('pool_shrink', n=1), ask('pool_shrink', n=1)])
sleeps.revoke(terminate=True)
outcome(sleeps)
emit(name='limit', value=ask('time_limit', task_name='tasks.spin', hard=0.2))
emit(name='spun', value=outcome(send('tasks.spin')))
emit(name='unlimited', value=ask('time_limit', task_name='tasks.spin'))
# By the node's bare id too.
emit(name='bare', value=ask('ping', destination='w1'))
emit(name='glob', value=[sorted(r) for r in control.broadcast('ping', reply=True, limit=2, timeout=10, pattern='coxswain@w[12]', matcher='glob')])
emit(name='w2', value=control.broadcast('enable_events', reply=True, limit=1, timeout=10, destination=['coxswain@w2']))
emit(name='shutdown', value=control.broadcast('shutdown', reply=True, timeout=0.5, destination=['coxswain@w2']))
`,
      [JSON.stringify(revokedBefore())],
    );
    expect(told.get("mingled")).toBe(true);
    expect(told.get("refused")).toEqual([
      { error: expect.stringMatching(/^ValueError\(.*cox\.dead.*is reserved/) },
      { error: "TypeError('queue must be a text, got 7')" },
      { error: expect.stringMatching(/no exchange type/) },
      { error: expect.stringMatching(/^TypeError\('hard must be seconds/) },
      { error: "unknown task" },
      { error: "unknown task" },
    ]);
    expect(told.get("added")).toEqual([{ ok: "add consumer extra" }, [QUEUE, "extra"]]);
    expect(told.get("extra")).toMatchObject({ value: 3 });
    expect(told.get("cancelled")).toEqual([{ ok: "no longer consuming from extra" }, [QUEUE]]);
    expect(told.get("grown")).toEqual([
      { ok: "pool will grow" },
      { value: 9, state: "SUCCESS" },
      2,
      { ok: "pool will shrink" },
      { error: expect.stringMatching(/^a worker has 1 to 1024 isolates: 1 now/) },
    ]);
    expect(told.get("limit")).toEqual({ ok: "time limits set successfully" });
    expect(told.get("spun")).toMatchObject({ raised: "billiard.exceptions.TimeLimitExceeded" });
    expect(told.get("bare")).toEqual({ ok: "pong" });
    expect(told.get("glob")).toBeArrayOfSize(2);
    expect(told.get("w2")).toEqual([{ "coxswain@w2": { ok: "task events enabled" } }]);
    expect(told.get("shutdown")).toEqual([]);
    expect(await ending.exited()).toBe(0);
    expect(ending.log).toContain("Celery's remote control");
    expect(worker.log).not.toContain('"level":"ERROR"');
  }, 60_000);
});

describe("events", () => {
  test("tell Celery's monitors of our workers and tasks as of their own", async () => {
    const told = await drive(`
state = app.events.State()
seen = {}
def note(event):
    state.event(event)
    if event['hostname'] == OURS:
        seen.setdefault(event.get('uuid', 'worker'), []).append(event['type'])
def capture():
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={'*': note})
        try: receiver.capture(limit=None, timeout=None, wakeup=True)
        except OSError: pass
threading.Thread(target=capture, daemon=True).start()
until('a heartbeat', lambda: 'worker' in seen)
results = dict(add=send('tasks.add', 1, 2), fail=send('tasks.fail', "it's"), again=send('tasks.again'),
    secret=send('tasks.secret', 'hush'), expired=send('tasks.add', 1, 2, expires=datetime.now(timezone.utc) - timedelta(seconds=60)))
for name in ('add', 'fail', 'again', 'secret', 'expired'): outcome(results[name])
results['sleep'] = send('tasks.sleep', 60000)
until('the start', lambda: 'task-started' in seen.get(results['sleep'].id, []))
results['sleep'].revoke(terminate=True)
outcome(results['sleep'])
until('the last', lambda: 'task-revoked' in seen.get(results['sleep'].id, []))
def fields(task): return {k: getattr(task, k) for k in ('name', 'state', 'args', 'kwargs', 'result', 'exception', 'retries', 'runtime', 'root_id')}
for name, result in results.items():
    emit(name=name, value=dict(seen=seen[result.id], id=result.id, **fields(state.tasks[result.id])))
w = state.workers[OURS]
until('a heartbeat', lambda: w.alive)
emit(name='worker', value=dict(alive=w.alive, freq=w.freq, pid=w.pid, ident=w.sw_ident, active=w.active, processed=w.processed, load=len(w.loadavg)))
`);
    const ran = (...last: string[]) => ["task-received", "task-started", ...last];
    expect(told.get("add")).toEqual({
      seen: ran("task-succeeded"),
      id: expect.any(String),
      name: "tasks.add",
      state: "SUCCESS",
      args: "[1, 2]",
      kwargs: "{}",
      result: "3",
      exception: null,
      retries: 0,
      runtime: expect.any(Number),
      root_id: expect.any(String),
    });
    expect(told.get("fail")).toMatchObject({
      seen: ran("task-failed"),
      state: "FAILURE",
      exception: `TypeError("it's")`,
    });
    expect(told.get("again")).toMatchObject({
      seen: [...ran("task-retried"), ...ran("task-succeeded")],
      state: "SUCCESS",
      result: "'done'",
    });
    expect(told.get("secret")).toMatchObject({ args: "<redacted>", result: "<redacted>" });
    expect(JSON.stringify(told.get("secret"))).not.toContain("hush");
    expect(told.get("sleep")).toMatchObject({
      seen: ran("task-revoked"),
      state: "REVOKED",
    });
    expect(told.get("expired")).toMatchObject({ seen: ["task-revoked"], state: "REVOKED" });
    expect(told.get("worker")).toEqual({
      alive: true,
      freq: 2,
      pid: worker.pid,
      ident: "coxswain",
      active: expect.any(Number),
      processed: expect.any(Number),
      load: 3,
    });
  }, 60_000);
});

describe("a cluster of both", () => {
  test("answers Celery's command line, meets its worker, and is listed by a front", async () => {
    // It meets ours at its start, and learns what was revoked there.
    const starting = startCeleryWorker({ url, meets: true, events: true });
    await using front = await startNode([
      ...["serve", "--amqp-url", url, "--port", "0", "--no-recorder"],
    ]);
    await using theirs = await starting;
    const dump = spawnCelery(["events", "--dump"], { url });
    let dumped = "";
    dump.stdout?.setEncoding("utf8").on("data", (text: string) => dumped += text);
    try {
      const [status, ping, wrong, revoked] = await Promise.all([
        celery(["status", "-t", "3"], { url }),
        celery(["inspect", "ping", "--json", "-t", "3"], { url }),
        celery(["control", "-d", OURS, "-t", "3", "pool_restart"], { url }),
        celery(["inspect", "revoked", "--json", "-d", theirs.name, "-t", "3"], { url }),
      ]);
      expect(status.output).toContain(`${OURS}: OK`);
      expect(status.output).toContain(`${theirs.name}: OK`);
      expect(status.output).toContain("2 nodes online");
      expect(JSON.parse(ping.output)).toEqual({
        [OURS]: { ok: "pong" },
        [theirs.name]: { ok: "pong" },
      });
      expect(JSON.parse(revoked.output)[theirs.name]).toEqual(
        expect.arrayContaining([...revokedBefore()]),
      );
      expect(wrong.output + wrong.errors).toContain("Pool restarts not enabled");
      const nodes = async (): Promise<Record<string, unknown>[]> =>
        await (await fetch(`${front.url}/nodes`)).json();
      const find = async (id: string) => (await nodes()).find((node) => node["id"] === id);
      await until(async () => (await find(theirs.name))?.["state"] === "alive", "it to be listed");
      expect(await find(theirs.name)).toMatchObject({
        kind: "celery",
        role: "worker",
        version: expect.stringMatching(/^\d/),
        pid: theirs.pid,
      });
      expect(await find("w1")).toMatchObject({ kind: "coxswain", role: "work" });
      expect(await find(OURS)).toBeUndefined();
      await until(() => dumped.includes(`${OURS} [`), "our heartbeat in celery's dump");
      await until(() => dumped.includes(`${theirs.name} [`), "its heartbeat in celery's dump");
      expect(theirs.log).toContain("mingle: sync with 1 nodes");
      expect(theirs.log).not.toMatch(/ERROR|CRITICAL|Traceback|failed/);
      await theirs.stop();
      await until(async () => (await find(theirs.name))?.["state"] === "left", "it to have left");
    } finally {
      dump.kill("SIGKILL");
    }
  }, 60_000);
});

/** What the test of captured commands has revoked. */
function revokedBefore(): readonly string[] {
  return scenarios.flatMap(({ command: { method, arguments: args } }) =>
    (method === "revoke" || method === "terminate") && "task_id" in args ? args.task_id ?? [] : []
  );
}

function answerKind(scenario: string): string {
  const answer = ANSWERS[scenario];
  return typeof answer === "string" ? answer : "text";
}

function members(value: unknown): readonly string[] {
  return Object.keys(typeof value === "object" && value !== null ? value : {}).toSorted();
}
