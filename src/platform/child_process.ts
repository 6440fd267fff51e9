/** Processes of our own that talk to us by texts and never outlive us. */

export interface ChildEvents {
  onMessage(message: unknown): void;
  /** Called once, when the process has ended and all that it said has been told. */
  onExit(exitCode: number | null, signal: string | null): void;
}

export interface ChildProcess {
  readonly pid: number;
  /** Does nothing when the process has ended. */
  send(text: string): void;
  /** SIGKILL, to the process and all that it started. Idempotent. */
  kill(): void;
}

/** Words that start a program: the executable and its arguments. */
export type Command = readonly [string, ...string[]];

/**
 * How long the channel may stay open after the process ended: a program that it started may hold it.
 */
const CHANNEL_CLOSE_MS = 50;

/**
 * Starts a process with a channel to us. Its output goes where ours goes.
 *
 * It leads a process group: a Ctrl-C at our terminal does not reach it (we decide when it ends), and
 * killing it ends what it started too. When we die, however we die, the system ends it, even where it
 * spins (`BUN_FEATURE_FLAG_NO_ORPHANS`: the kernel's parent-death signal).
 * @throws Error when the system cannot start it.
 */
export function spawnChild(command: Command, events: ChildEvents): ChildProcess {
  let hasExited = false;
  let isConnected = true;
  let isTold = false;
  const tell = (): void => {
    if (isTold) return;
    isTold = true;
    events.onExit(child.exitCode, child.signalCode === null ? null : String(child.signalCode));
  };
  const child = Bun.spawn([...command], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, BUN_FEATURE_FLAG_NO_ORPHANS: "1" },
    detached: true,
    // Structured clone: as fast as JSON for short texts, and a 10 MiB body is not escaped once more
    // (17 MiB there and back: 0.2 s instead of 1.2 s).
    serialization: "advanced",
    ipc: (message) => {
      if (!isTold) events.onMessage(message);
    },
    onExit: () => {
      hasExited = true;
      if (isConnected) setTimeout(tell, CHANNEL_CLOSE_MS);
      else tell();
    },
    onDisconnect: () => {
      isConnected = false;
      if (hasExited) tell();
    },
  });
  return {
    pid: child.pid,
    send: (text) => {
      if (isConnected && !hasExited) child.send(text);
    },
    kill: () => killGroup(child.pid, () => hasExited),
  };
}

function killGroup(pid: number, hasExited: () => boolean): void {
  if (hasExited()) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // Gone between our look and our signal.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** The child's end of the channel. */
export interface ParentChannel {
  send(text: string): void;
  receive(listener: (message: unknown) => void): void;
}

/**
 * In a process started by `spawnChild`: the channel to the parent. The process ends when the parent
 * closes it, and not at signals that the parent answers for it.
 * @throws Error when this process was not started with a channel.
 */
export function parentChannel(): ParentChannel {
  if (process.send === undefined) {
    throw new Error(
      "Cannot run as an isolate: this command is started by the program itself alone",
    );
  }
  delete process.env["BUN_FEATURE_FLAG_NO_ORPHANS"];
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  return {
    send: (text) => {
      if (process.connected) process.send?.(text);
    },
    receive: (listener) => void process.on("message", listener),
  };
}
