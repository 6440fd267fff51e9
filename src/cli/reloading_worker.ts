/**
 * A node's worker while its tasks are being developed: a change puts a new worker, with isolates of its
 * own, in the place of the old one. The node itself goes on: its port stays open, and calls wait in
 * their queues meanwhile.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { DeclarationError } from "../broker/errors.ts";
import { type Pool, PoolStartError } from "../isolates/pool.ts";
import type { Component } from "../lifecycle/component.ts";
import type { NodesChannel } from "../nodes/nodes_channel.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { Worker, WorkerStatus } from "../worker/worker.ts";

const log = getLogger(["coxswain", "watch"]);

/** A worker that has not been started, and its pool. */
export interface MadeWorker {
  readonly worker: Worker;
  readonly pool: Pool;
}

export interface ReloadingWorkerOptions {
  readonly make: () => MadeWorker;
  readonly broker: Broker;
  readonly nodes: NodesChannel;
}

/** How long attempts of the old version may go on; what is cut short runs again in the new one. */
const RELOAD_GRACE_MS = 1_000;

const NOBODY: WorkerStatus = {
  consumers: [],
  running: 0,
  waiting: 0,
  isolates: 0,
  stuckIsolates: 0,
};

export class ReloadingWorker implements Component {
  readonly #options: ReloadingWorkerOptions;
  #current: Worker | undefined;
  /** Old ones that finish what they run. */
  readonly #ending = new Set<Promise<void>>();
  #isStopped = false;

  constructor(options: ReloadingWorkerOptions) {
    this.#options = options;
  }

  get status(): WorkerStatus {
    return this.#current?.status ?? NOBODY;
  }

  get served(): readonly TaskDescriptor[] {
    return this.#current?.served ?? [];
  }

  /** Where the task files cannot be used it waits for them to be mended, and says so. */
  async start(): Promise<void> {
    const made = this.#options.make();
    try {
      await made.worker.start();
      this.#current = made.worker;
    } catch (error) {
      await end(made);
      if (!isOfTaskFiles(error)) throw error;
      const reason = error.message;
      log.error("Waiting for a change of the task files: {reason}", { reason });
    }
  }

  /** Two phases as any part; old ones that still run something have no more than that. */
  async stop(abort?: AbortSignal): Promise<void> {
    this.#isStopped = true;
    const current = this.#current;
    this.#current = undefined;
    await Promise.all([current?.stop(abort), ...this.#ending]);
  }

  /**
   * Loads the tasks anew and has the new worker take over. Where they do not load, the old one goes on.
   * Never rejects.
   * @param change what has changed, for the log: "tasks/a.ts changed".
   */
  async reload(change: string): Promise<void> {
    const startedAt = performance.now();
    const made = this.#options.make();
    try {
      await made.pool.start();
    } catch (error) {
      await end(made);
      const reason = reasonOf(error);
      if (this.#current) {
        log.error("{change}; the version before goes on: {reason}", { change, reason });
      } else log.error("{change}; there is still nothing to serve: {reason}", { change, reason });
      return;
    }
    // Without a broker the new one could not start; the old one comes back with it.
    await connected(this.#options.broker);
    if (this.#isStopped) return await end(made);
    const before = this.served.map(({ name }) => name);
    await this.#replaceBy(made, change);
    if (this.#current !== made.worker) return;
    const after = this.served.map(({ name }) => name);
    const added = after.filter((name) => !before.includes(name));
    const removed = before.filter((name) => !after.includes(name));
    const news = (added.length > 0 ? "; new: {added}" : "") +
      (removed.length > 0 ? "; gone: {removed}" : "");
    log.info(`{change}: reloaded in {tookMs} ms${news}`, {
      change,
      tookMs: Math.round(performance.now() - startedAt),
      tasks: after.length,
      added: added.join(" "),
      removed: removed.join(" "),
    });
  }

  /** The old one takes nothing more before the new one does: no queue has two consumers of one node. */
  async #replaceBy(made: MadeWorker, change: string): Promise<void> {
    const old = this.#current;
    if (old) {
      await old.handOver();
      this.#finish(old);
    }
    this.#current = undefined;
    try {
      await made.worker.start();
      this.#current = made.worker;
    } catch (error) {
      await end(made);
      await this.#options.nodes.serve([]);
      const reason = reasonOf(error);
      log.error("{change}; nothing is served until it is mended: {reason}", { change, reason });
    }
  }

  #finish(old: Worker): void {
    const ending = old.stop(AbortSignal.timeout(RELOAD_GRACE_MS)).catch((error: unknown) => {
      log.error("The old version could not be stopped: {error}", { error });
    }).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }
}

function connected(broker: Broker): Promise<void> {
  if (broker.state.kind === "connected") return Promise.resolve();
  return new Promise((resolve) => {
    const unwatch = broker.watch(({ kind }) => {
      if (kind === "away" || kind === "idle") return;
      unwatch();
      resolve();
    });
  });
}

/** A worker that did not start, and all that it made. */
async function end({ worker, pool }: MadeWorker): Promise<void> {
  await worker.handOver();
  await worker.stop(AbortSignal.abort());
  await pool.stop(AbortSignal.abort());
}

/** For the author of task files to put right. */
function isOfTaskFiles(error: unknown): error is Error {
  return error instanceof PoolStartError || error instanceof DeclarationError;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
