/**
 * What one scenario runs in: a folder of its own, nodes of the compiled executable that come back when
 * they end, a private RabbitMQ with a virtual host of its own, the load and its ledger. Whatever happens,
 * its processes are gone at the end.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../services/ports.ts";
import { type RabbitMq, type RabbitMqOptions, startRabbitMq } from "../services/rabbitmq.ts";
import { atExit } from "./at_exit.ts";
import { KeptProcess } from "./kept_process.ts";
import { type Account, Ledger, LEDGER_TASKS } from "./ledger.ts";
import { CALL_DEADLINE_MS, Load, type LoadOptions } from "./load.ts";
import { Random } from "./random.ts";
import { type Check, type Demands, judge, type Scenario, type Verdict } from "./scenario.ts";
import { becomes, readJson, until } from "./waiting.ts";

export interface TrialOptions {
  readonly seed: number;
  /** How long faults go on, in milliseconds. */
  readonly durationMs: number;
  readonly isShort: boolean;
  readonly say: (line: string) => void;
  /** A time limit fails past so many times itself; more on a machine that is slow. Default 2. */
  readonly slack?: number;
}

/** RabbitMQ offers this, and nodes take the lower of theirs and its. */
const SHORT_HEARTBEAT = "heartbeat = 2";
/** How long accepted jobs may take to end once nothing is broken any more. */
const SETTLE_MS = 120_000;
/** What is promised: connected, declared and consumed again within 5 s of the broker's return. */
export const RECOVERY_LIMIT_MS = 5_000;
/** Until a recovery counts as failed; what is promised is judged by the figure. */
const RECOVERY_PATIENCE_MS = 60_000;
/** Jobs and calls, each. */
const PER_SECOND = 40;
const SHORT_PER_SECOND = 20;
const ASKED_AT_ONCE = 40;

/**
 * The brokers of one run: one that scenarios share, each in its own virtual host, and one for those that
 * disturb it, which must not run side by side.
 */
export class Brokers implements AsyncDisposable {
  readonly #options: RabbitMqOptions;
  #shared: Promise<RabbitMq> | undefined;
  #disturbed: Promise<RabbitMq> | undefined;

  constructor(isShort: boolean) {
    this.#options = { config: isShort ? [SHORT_HEARTBEAT] : [] };
  }

  get({ disturbsBroker }: Pick<Scenario, "disturbsBroker">): Promise<RabbitMq> {
    return disturbsBroker
      ? this.#disturbed ??= startRabbitMq(this.#options)
      : this.#shared ??= startRabbitMq(this.#options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#shared)?.dispose();
    await (await this.#disturbed)?.dispose();
  }
}

export interface NodeOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly prefix?: readonly string[];
}

export class Trial implements AsyncDisposable {
  readonly random: Random;
  readonly durationMs: number;
  readonly isShort: boolean;
  readonly slack: number;
  readonly say: (line: string) => void;
  readonly folder: string;
  readonly ledger: Ledger;
  readonly nodes: KeptProcess[] = [];
  /** Resources of the scenario, released in reverse order at its end. */
  readonly stack = new AsyncDisposableStack();
  readonly #scenario: Scenario;
  readonly #seed: number;
  readonly #brokers: Brokers;
  readonly #checks: Check[] = [];
  readonly #figures: Record<string, string | number> = {};
  #load: Load | undefined;
  #url: string | undefined;
  #faults = 0;
  #backInMs: number | undefined;
  #skipped: string | undefined;
  #demands: Demands = {
    isFrontSpared: true,
    isExpirySure: true,
    forgetsFinished: false,
    cutOff: new Set(),
  };

  constructor(scenario: Scenario, brokers: Brokers, options: TrialOptions) {
    const { seed, durationMs, isShort, say, slack = 2 } = options;
    this.slack = slack;
    this.#scenario = scenario;
    this.#brokers = brokers;
    this.#seed = seed;
    this.random = new Random(seed);
    this.durationMs = durationMs;
    this.isShort = isShort;
    this.say = (line) => say(`${scenario.name}: ${line}`);
    this.folder = mkdtempSync(join(tmpdir(), "coxswain-fault-"));
    const remove = () => rmSync(this.folder, { recursive: true, force: true });
    this.stack.defer(atExit(remove));
    this.stack.defer(remove);
    this.ledger = new Ledger(join(this.folder, "ledger"), CALL_DEADLINE_MS);
    writeFileSync(this.ledger.file, "");
    mkdirSync(join(this.folder, "tasks"));
    this.addTasks("ledger", LEDGER_TASKS);
  }

  /** The address of the front that the load goes to. */
  get url(): string {
    if (this.#url === undefined) throw new Error("The scenario has started no front yet");
    return this.#url;
  }

  /** Another file of tasks for the nodes that start from now on. */
  addTasks(name: string, source: string): void {
    writeFileSync(join(this.folder, "tasks", `${name}.ts`), source);
  }

  async rabbit(): Promise<RabbitMq> {
    return await this.#brokers.get(this.#scenario);
  }

  /** A virtual host of its own on the shared broker. */
  async amqpUrl(): Promise<string> {
    const rabbit = await this.rabbit();
    const name = `${this.#scenario.name}-${this.#seed}`;
    await rabbit.command("add_vhost", name);
    await rabbit.command("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
    return `${rabbit.url.replace(/\/[^/]*$/, "")}/${name}`;
  }

  /** Starts a node that comes back whenever it ends. */
  start(name: string, args: readonly string[], { env = {}, prefix }: NodeOptions = {}) {
    const node = KeptProcess.start(
      name,
      [...args, "--log-format", "json"],
      this.folder,
      { LEDGER_FILE: this.ledger.file, ...env },
      prefix === undefined ? {} : { prefix },
    );
    this.nodes.push(node);
    return this.stack.use(node);
  }

  /** @param args beside the broker, such as `--store`. */
  async front(amqpUrl: string, args: readonly string[] = [], options?: NodeOptions) {
    const [port = 0] = await freePorts(1);
    const own = [...withoutDevices(args), ...args];
    const whole = ["serve", "--port", `${port}`, "--amqp-url", amqpUrl, ...own];
    const node = this.start("front", whole, options);
    this.#url = `http://127.0.0.1:${port}`;
    return node;
  }

  worker(amqpUrl: string, args: readonly string[] = [], options?: NodeOptions) {
    const name = `worker ${this.nodes.length}`;
    const size = args.includes("--isolates") ? [] : ["--isolates", "1", "--slots", "4"];
    const whole = ["work", "--amqp-url", amqpUrl, "--tasks", "tasks", ...size, ...args];
    return this.start(name, whole, options);
  }

  async allInOne(args: readonly string[] = []) {
    const [port = 0] = await freePorts(1);
    const size = ["--isolates", "2", "--slots", "4", "--tasks", "tasks"];
    const own = [...withoutDevices(args), ...args];
    const node = this.start("all", ["all", "--port", `${port}`, ...size, ...own]);
    this.#url = `http://127.0.0.1:${port}`;
    return node;
  }

  /** Of a front that the scenario started by itself. */
  goTo(url: string): void {
    this.#url = url;
  }

  /** Starts the load once every node is up and the front knows its tasks. */
  async beginLoad(options: Partial<LoadOptions> = {}): Promise<Load> {
    await until("the front knows the ledger's tasks", async () => {
      const tasks = JSON.stringify(await readJson(`${this.url}/tasks`)) ?? "";
      return tasks.includes("ledger.job") && tasks.includes("ledger.call") &&
        this.nodes.every(({ isReady }) => isReady);
    }).catch((error: unknown) => {
      for (const { name, log } of this.nodes) this.say(`${name} said: ${log.slice(-500)}`);
      throw error;
    });
    const perSecond = this.isShort ? SHORT_PER_SECOND : PER_SECOND;
    const load = new Load({
      url: this.url,
      ledger: this.ledger,
      jobsPerSecond: perSecond,
      callsPerSecond: perSecond,
      ...options,
    });
    this.#load = load;
    load.start();
    return load;
  }

  /** Something is broken now. */
  fault(what: string): void {
    this.#faults++;
    this.say(what);
  }

  /** The front is killed or stopped: its clients may go without an answer. */
  sparesNoFront(): void {
    this.#demands = { ...this.#demands, isFrontSpared: false };
  }

  /** Workers run calls, and are broken before anybody hears of it. */
  leavesRunsUntold(): void {
    this.#demands = { ...this.#demands, isExpirySure: false };
  }

  /** The front was told to keep finished jobs for a moment only. */
  forgetsFinished(): void {
    this.#demands = { ...this.#demands, forgetsFinished: true };
  }

  /** A node that cannot tell anybody what it runs. */
  cutsOff(nodeId: string): void {
    this.#demands = { ...this.#demands, cutOff: new Set([...this.#demands.cutOff, nodeId]) };
  }

  /** Everything works again from now on: measures how soon it shows. */
  async recovers(limitMs = RECOVERY_LIMIT_MS): Promise<void> {
    if (this.#load === undefined) throw new Error("There is no load that could show a recovery");
    const tookMs = await this.#load.recovery(RECOVERY_PATIENCE_MS);
    this.#backInMs = Math.max(this.#backInMs ?? 0, tookMs ?? RECOVERY_PATIENCE_MS);
    this.say(tookMs === undefined ? "does not come back" : `back after ${tookMs} ms`);
    this.check(
      `calls and jobs are well again within ${limitMs} ms`,
      tookMs !== undefined && tookMs <= this.slack * limitMs,
      `${tookMs ?? "never"} ms`,
    );
  }

  check(what: string, isMet: boolean, seen = ""): void {
    this.#checks.push({ what, isMet, seen });
    if (!isMet) this.say(`NOT MET: ${what} (${seen})`);
  }

  /** The scenario needs what this machine does not have. */
  skip(reason: string): void {
    this.#skipped = reason;
    this.say(`not run: ${reason}`);
  }

  figure(name: string, value: string | number): void {
    this.#figures[name] = value;
  }

  /** Breaks things again and again while the run's time lasts, `least` times at least. */
  async rounds(least: number, once: (round: number) => void | Promise<void>): Promise<void> {
    const until = performance.now() + this.durationMs;
    for (let round = 0; round < least || performance.now() < until; round++) {
      await this.awhile();
      await once(round);
    }
  }

  /** Waits for a part of the load's time, by the seed: so that faults meet it at any point. */
  async awhile(leastMs = 500, mostMs = 1_500): Promise<void> {
    await Bun.sleep(this.random.between(leastMs, mostMs));
  }

  /** Ends the load, waits until what was accepted has ended, and compares all that was noted. */
  async settle(): Promise<void> {
    const load = this.#load;
    if (load === undefined) return;
    await load.stop();
    const { ledger } = this;
    await becomes(() => ledger.missing().length === 0, SETTLE_MS, 250);
    const disagreeing = await this.#disagreeing();
    this.#checks.push(...judge(this.#account(), disagreeing, this.#demands));
  }

  verdict(seconds: number): Verdict {
    return {
      name: this.#scenario.name,
      seed: this.#seed,
      isPassed: this.#checks.every(({ isMet }) => isMet),
      seconds,
      faults: this.#faults,
      account: this.#load === undefined ? undefined : this.#account(),
      backInMs: this.#backInMs,
      checks: this.#checks,
      figures: this.#figures,
      ...(this.#skipped === undefined ? {} : { skipped: this.#skipped }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#load?.stop();
    await this.stack.disposeAsync();
  }

  #account(): Account {
    return this.ledger.account(this.#demands.cutOff);
  }

  /** Accepted jobs that the store does not know as succeeded, after a while. */
  async #disagreeing(): Promise<readonly string[]> {
    let left = [...this.ledger.accepted.keys()];
    await becomes(
      async () => {
        const unlike: string[] = [];
        for (let i = 0; i < left.length; i += ASKED_AT_ONCE) {
          const some = left.slice(i, i + ASKED_AT_ONCE);
          const states = await Promise.all(some.map((id) => this.#state(id)));
          const isWell = (state: unknown) =>
            state === "succeeded" || (state === "forgotten" && this.#demands.forgetsFinished);
          unlike.push(...some.filter((_, i) => !isWell(states[i])));
        }
        left = unlike;
        return left.length === 0;
      },
      SETTLE_MS,
      250,
    );
    return left;
  }

  async #state(id: string): Promise<unknown> {
    const job = await readJson(`${this.url}/jobs/${id}`);
    if (typeof job !== "object" || job === null) return undefined;
    if ("state" in job) return job.state;
    return "status" in job && job.status === 404 ? "forgotten" : undefined;
  }
}

/** Fronts of one machine would want the same port for devices. */
function withoutDevices(args: readonly string[]): readonly string[] {
  return args.includes("--device-port") ? [] : ["--device-port", "off"];
}

/**
 * Runs scenarios side by side, `atOnce` at most; those that disturb the broker one after the other. In
 * the order given, as are the verdicts.
 */
export async function runScenarios(
  scenarios: readonly Scenario[],
  atOnce: number,
  options: TrialOptions,
): Promise<readonly Verdict[]> {
  await using brokers = new Brokers(options.isShort);
  const waiting = [...scenarios];
  const verdicts = new Map<Scenario, Verdict>();
  let isDisturbed = false;
  const next = () => {
    const place = waiting.findIndex(({ disturbsBroker }) => !(disturbsBroker && isDisturbed));
    return place < 0 ? undefined : waiting.splice(place, 1)[0];
  };
  const lane = async () => {
    while (waiting.length > 0) {
      const scenario = next();
      // Only those are left that another lane must end first: it takes them.
      if (scenario === undefined) return;
      if (scenario.disturbsBroker) isDisturbed = true;
      verdicts.set(scenario, await runScenario(scenario, brokers, options));
      if (scenario.disturbsBroker) isDisturbed = false;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return scenarios.flatMap((scenario) => verdicts.get(scenario) ?? []);
}

/** Runs one scenario to its verdict; one that throws has failed. */
export async function runScenario(
  scenario: Scenario,
  brokers: Brokers,
  options: TrialOptions,
): Promise<Verdict> {
  const startedAt = performance.now();
  await using trial = new Trial(scenario, brokers, options);
  try {
    await scenario.run(trial);
    await trial.settle();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    trial.check("the scenario runs to its end", false, error.message);
  }
  return trial.verdict(Math.round((performance.now() - startedAt) / 1_000));
}
