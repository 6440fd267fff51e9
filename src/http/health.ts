/** What HTTP tells of a node's health, and when a node is ready. How it is served is routes/health.ts. */

/** The broker's state as far as health tells it; the broker port's `BrokerState` is one. */
export type BrokerHealth =
  | { readonly kind: "connected"; readonly since: Date; readonly blocked?: string }
  | { readonly kind: "away"; readonly since: Date; readonly reason: string }
  | { readonly kind: "idle" | "stopped" };

/** What a node's worker does now; `Worker.status` is one. */
export interface WorkerHealth {
  readonly consumers: readonly {
    readonly queue: string;
    readonly isLive: boolean;
    /** Somebody wants it not to be consumed now. */
    readonly isPaused?: boolean;
  }[];
  /** Attempts that run. */
  readonly running: number;
  /** Attempts that wait for a slot. */
  readonly waiting: number;
  /** Isolates that take attempts now. */
  readonly isolates: number;
  /** Killed isolates whose thread has not ended yet. */
  readonly stuckIsolates: number;
}

/** The node's ticker; `NodeHeartbeat.status` is one. */
export interface HeartbeatHealth {
  /** Beats since the start. */
  readonly count: number;
  /** It beats, and is less than three periods late. */
  readonly isBeating: boolean;
  /** When the latest beacon was sent; absent: none was. */
  readonly lastBeaconAt?: Date;
}

/** What a node calls tasks with. */
export interface FrontHealth {
  /** Workers have had time to say which tasks they serve. */
  readonly isDirectorySettled: boolean;
  /** Calls that wait for their ending. */
  readonly pendingCalls: number;
}

/** What keeps job records here; `Recorder.status` is one. */
export interface RecorderHealth {
  readonly state: "idle" | "waiting" | "recording" | "refused" | "stopped";
  /** Where they are kept. */
  readonly place: string;
  /** Whether this one publishes what is due. */
  readonly isLeading: boolean;
  /** Messages with events that were received and are not recorded yet. */
  readonly held: number;
  /** How late the latest were. */
  readonly behindMs: number;
  /** What keeps it from recording now. */
  readonly obstacle?: string;
}

/** The queue of job events; `RecorderWatch.status` is one. */
export interface JobEventsHealth {
  readonly readers: number;
  readonly waiting: number;
}

/** A node's parts, asked anew for each answer. */
export interface NodeHealth {
  readonly node: string;
  readonly broker: () => BrokerHealth;
  /** Where the node runs tasks. */
  readonly worker?: () => WorkerHealth;
  readonly heartbeat?: () => HeartbeatHealth;
  /** Where the node keeps job records. */
  readonly recorder?: () => RecorderHealth;
  /** Undefined while it is not known. */
  readonly jobEvents?: () => JobEventsHealth | undefined;
  /** The node has been told to stop: whoever shares out requests should pass it over. */
  readonly isStopping?: () => boolean;
}

/** Why the node cannot do its work now, a sentence each; empty when it can. */
export function obstacles(health: NodeHealth, front: FrontHealth | undefined): readonly string[] {
  const found: string[] = [];
  if (health.isStopping?.()) found.push("The node is stopping");
  const broker = health.broker();
  switch (broker.kind) {
    case "connected":
      if (broker.blocked !== undefined) {
        found.push(`The broker takes no messages: ${broker.blocked}`);
      } else if (front?.isDirectorySettled === false) {
        found.push("Workers are being asked for their tasks");
      }
      break;
    case "away":
      found.push(`The broker is away since ${broker.since.toISOString()}: ${broker.reason}`);
      break;
    case "idle":
      found.push("The broker is being connected");
      break;
    case "stopped":
      found.push("The broker connection is closed");
  }
  // A node that starts beats last, and one that stops no more.
  if (health.heartbeat?.().isBeating === false && !health.isStopping?.()) {
    found.push("The heartbeat does not beat");
  }
  const consumers = health.worker?.().consumers;
  if (consumers?.length === 0) found.push("No queue is being consumed");
  for (const { queue, isLive, isPaused } of consumers ?? []) {
    if (!isLive && isPaused !== true) found.push(`Queue "${queue}" is not being consumed`);
  }
  return found;
}

/** What an operator should look at though the node does its work; a sentence each. */
export function warnings(health: NodeHealth): readonly string[] {
  const found: string[] = [];
  const events = health.jobEvents?.();
  if (events?.readers === 0) {
    found.push(
      `No recorder reads the queue "cox.recorder": ${events.waiting} messages with job events wait`,
    );
  }
  const recorder = health.recorder?.();
  if (recorder?.obstacle !== undefined) {
    found.push(`Job events are not recorded now: ${recorder.obstacle}`);
  }
  return found;
}
