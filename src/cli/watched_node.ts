/**
 * A node that is being developed: a change of its task files loads them anew, a change of its settings
 * starts it anew, in this same process. What cannot be used is told, and what was there before goes on.
 */
import { relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { getLogger } from "@logtape/logtape";
import type { NodeConfig } from "../config/config.ts";
import { configureLogging } from "../observe/logging.ts";
import { type FileChange, FileWatch } from "../watch/file_watch.ts";
import { WatchedFiles } from "../watch/watched_files.ts";
import type { Parsed } from "./command.ts";
import type { Watching } from "./composition.ts";
import { startupFailure } from "./startup_error.ts";

const log = getLogger(["coxswain", "watch"]);

/** Runs a node once; see `CompositionRoot.runNode`. */
export type RunNode = (config: NodeConfig, watching: Watching) => Promise<number | undefined>;

/** Why a node is started once more. */
interface Restart {
  readonly config: NodeConfig;
  /** "coxswain.json changed" */
  readonly change: string;
  readonly since: number;
}

/**
 * Runs a node, anew with each change of its settings, until a signal stops it.
 * @param reread the command line once more, with the settings as they are now.
 * @returns the exit code.
 * @throws what the first start throws.
 */
export async function runWatchedNode(
  first: NodeConfig,
  reread: () => Parsed,
  run: RunNode,
): Promise<number> {
  const ports = new Map<string, number>();
  /** Settings with which it has started. */
  let good: NodeConfig | undefined;
  let config = first;
  let restart: Restart | undefined;
  while (true) {
    const session = new WatchedSession(config, reread, restart);
    try {
      const exitCode = await run(config, session.watching(ports));
      if (exitCode !== undefined) return exitCode;
      good = config;
      restart = session.next;
    } catch (error) {
      const failure = startupFailure(error);
      if (good === undefined || failure === undefined) throw error;
      log.error("{change}, and cannot be used; the settings before are: {reason}", {
        change: restart?.change,
        reason: failure.message,
      });
      restart = { config: good, change: "The settings before", since: performance.now() };
      // They have worked; where they no longer do, there is nothing left to try.
      good = undefined;
    } finally {
      session.stop();
    }
    if (restart === undefined) return 0;
    config = restart.config;
    await configureLogging(config.log);
  }
}

/** From one start to the next. */
class WatchedSession {
  /** What it is to be started anew with. */
  next: Restart | undefined;
  readonly #config: NodeConfig;
  readonly #reread: () => Parsed;
  readonly #restarted: Restart | undefined;
  readonly #wanted = new AbortController();
  readonly #reload = Promise.withResolvers<(change: string) => Promise<void>>();
  readonly #files: WatchedFiles;
  readonly #watch: FileWatch;

  constructor(config: NodeConfig, reread: () => Parsed, restarted: Restart | undefined) {
    this.#config = config;
    this.#reread = reread;
    this.#restarted = restarted;
    this.#files = new WatchedFiles({
      settingsFile: config.watch?.settingsFile ?? "",
      taskPaths: config.mode === "serve" ? [] : config.worker.taskPaths,
    });
    // From before the start: what changes while it starts is not missed.
    this.#watch = new FileWatch({
      look: () => this.#files.look(),
      onChange: (changes) => this.#apply(changes),
    });
  }

  watching(ports: Map<string, number>): Watching {
    return {
      wanted: this.#wanted.signal,
      ports,
      onWorker: (reload) => this.#reload.resolve(reload),
      onReady: () => this.#tellReady(),
    };
  }

  stop(): void {
    this.#watch.stop();
  }

  #tellReady(): void {
    if (this.#restarted === undefined) return;
    const { change, since } = this.#restarted;
    log.info("{change}: started anew in {tookMs} ms", {
      change,
      tookMs: Math.round(performance.now() - since),
    });
  }

  async #apply(changes: readonly FileChange[]): Promise<void> {
    const { settingsFile } = this.#files;
    const ofSettings = changes.filter(({ path }) => path === settingsFile);
    if (ofSettings.length > 0 && this.#applySettings(wordsOf(ofSettings))) return;
    const ofTasks = changes.filter(({ path }) => path !== settingsFile);
    if (ofTasks.length === 0) return;
    const reload = await this.#reload.promise;
    await reload(wordsOf(ofTasks));
  }

  /** @returns whether the node is to be started anew. */
  #applySettings(change: string): boolean {
    const since = performance.now();
    const parsed = this.#reread();
    if (parsed.kind === "text") {
      const reason = parsed.stderr.trim();
      log.error("{change}, and cannot be used; the settings before go on: {reason}", {
        change,
        reason,
      });
      return false;
    }
    const { command } = parsed;
    if (command.kind !== "node" || isDeepStrictEqual(command.config, this.#config)) {
      log.info("{change}, and nothing in it is new to this node", { change });
      return false;
    }
    this.next = { config: command.config, change, since };
    this.#watch.stop();
    this.#wanted.abort();
    return true;
  }
}

/** "tasks/a.ts changed", "tasks/b.ts removed and 2 more" */
function wordsOf(changes: readonly FileChange[]): string {
  const [first] = changes;
  if (first === undefined) return "Nothing changed";
  const path = relative(process.cwd(), first.path);
  const more = changes.length > 1 ? ` and ${changes.length - 1} more` : "";
  return `${path.startsWith("..") ? first.path : path} ${first.kind}${more}`;
}
