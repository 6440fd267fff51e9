/**
 * PORT: what Celery's remote control asks of a worker. The worker supplies it
 * (src/worker/control_panel.ts); methods.ts answers with it.
 */

import type { ExchangeType } from "../../broker/broker.ts";
import { VERSION } from "../../version.ts";

/** A request that a worker holds, in the words of Celery's `inspect`. */
export interface RequestInfo {
  readonly id: string;
  readonly name: string;
  readonly args: unknown;
  readonly kwargs: unknown;
  readonly type: string;
  readonly hostname: string;
  /** Epoch seconds; null: it does not run. */
  readonly time_start: number | null;
  readonly acknowledged: boolean;
  readonly delivery_info: {
    readonly exchange: string;
    readonly routing_key: string;
    readonly priority: number;
    readonly redelivered: boolean;
  };
  readonly worker_pid: number | null;
}

export type RequestState = "active" | "reserved" | "scheduled";

export interface HeldRequest {
  readonly state: RequestState;
  /** Epoch milliseconds at which a scheduled one may start. */
  readonly dueAt?: number;
  readonly id: string;
  readonly priority: number;
  /** Reads its arguments, unless they are redacted or large. */
  info(): Promise<RequestInfo>;
}

/** A task as the worker has it. Limits in milliseconds. */
export interface RegisteredTask {
  readonly name: string;
  readonly queue: string;
  readonly timeoutMs: number;
  readonly softTimeoutMs?: number;
  readonly isolation: string;
  readonly retry?: { readonly limit: number };
}

/** Another exchange and key than the queue's own name, to bind an added queue with. */
export interface AddedBinding {
  readonly exchange?: string;
  readonly exchangeType?: ExchangeType;
  readonly routingKey?: string;
}

export interface WorkerFigures {
  /** Requests taken since the start, by task. */
  readonly total: Readonly<Record<string, number>>;
  readonly pid: number;
  readonly uptimeMs: number;
  readonly isolates: number;
  /** Attempts that may run at once. */
  readonly slots: number;
  readonly maxTasksPerIsolate: number | undefined;
  /** Most messages held over all queues. */
  readonly prefetch: number;
  readonly rusage: Readonly<Record<string, number>>;
  readonly memoryBytes: number;
}

/** What a worker was started with, as far as others may know. */
export interface WorkerFacts {
  readonly version: string;
  /** Celery's names for settings, with ours beside them. No secrets. */
  readonly conf: Readonly<Record<string, unknown>>;
  /** Celery's `broker` in `stats`. No secrets. */
  readonly broker: Readonly<Record<string, unknown>>;
}

/** Of a worker that tells nothing of its settings. */
export const NO_FACTS: WorkerFacts = { version: VERSION, conf: {}, broker: {} };

export interface ControlPanel {
  /** Its name among Celery's workers. */
  readonly name: string;
  readonly facts: WorkerFacts;
  readonly figures: WorkerFigures;
  readonly tasks: readonly RegisteredTask[];
  readonly held: readonly HeldRequest[];
  /** Ids that must not start here, with how long ago each was told, the latest last. */
  readonly revoked: readonly { readonly id: string; readonly ageMs: number }[];
  /** Queues that it consumes now. */
  readonly queues: readonly string[];
  /** Refuses requests, and stops them where they run. @returns those that are held here. */
  revoke(ids: readonly string[], terminate: boolean): readonly string[];
  /**
   * Sets a task's limits for requests that come from now on; absent ones are as the task itself says.
   * @returns false: there is no such task.
   */
  limit(task: string, limits: { readonly hardMs?: number; readonly softMs?: number }): boolean;
  /**
   * Consumes a queue from now on, and makes it where there is none. Idempotent.
   * @throws DeclarationError, BrokerAwayError
   */
  addQueue(queue: string, binding: AddedBinding): Promise<void>;
  /** Consumes a queue no longer; one that it does not consume is fine. */
  cancelQueue(queue: string): Promise<void>;
  /** Makes room for so many attempts more, or fewer. @returns why it cannot, or undefined. */
  resize(isolates: number): string | undefined;
  /** Tells its tasks' events, or no longer. @returns whether that is new. */
  tellEvents(isWanted: boolean): Promise<boolean>;
  /** Says at once that it is alive, where it tells events. */
  beat(): void;
  /** Ends the node. Absent where it was not allowed. */
  readonly shutDown?: () => void;
}
