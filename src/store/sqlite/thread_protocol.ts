/** What travels between a store in a thread of its own and those who ask it. */
import { StoreAwayError, StoreRefusedError } from "../errors.ts";
import { BadCursorError, type Store } from "../store.ts";

/** All that is asked of a store; the rest is known without asking. */
export type StoreMethods = Omit<Store, "place" | "isShared">;
export type StoreMethod = keyof StoreMethods;

/** Each method once, so that a thread runs nothing else by name. */
const METHODS: Readonly<Record<StoreMethod, true>> = {
  open: true,
  close: true,
  ping: true,
  recordEvents: true,
  create: true,
  get: true,
  getMany: true,
  list: true,
  due: true,
  nextDueAt: true,
  overdue: true,
  cancelledIds: true,
  deleteFinished: true,
  deleteOld: true,
  announceSchedules: true,
  schedules: true,
  fireSchedule: true,
  pauseSchedule: true,
  deleteSchedule: true,
  acquireLease: true,
  releaseLease: true,
  stats: true,
  recordDevices: true,
  device: true,
  devices: true,
  deviceHistory: true,
  holdingNodes: true,
  loseDevices: true,
  deleteOldDevices: true,
};

export const STORE_METHODS: readonly StoreMethod[] = Object.keys(METHODS).filter(isStoreMethod);

export function isStoreMethod(name: string): name is StoreMethod {
  return Object.hasOwn(METHODS, name);
}

/** The first message to a thread. */
export interface Opening {
  readonly dataDir: string;
  readonly maxResultBytes?: number;
  readonly maxFileBytes?: number;
}

export interface Question {
  readonly number: number;
  readonly method: StoreMethod;
  readonly args: readonly unknown[];
}

export type Answer =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly error: ErrorNote };

/** An error in a form that crosses threads, where classes do not. */
export interface ErrorNote {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
}

export function noteOf(error: unknown): ErrorNote {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { name, message, stack } = error;
  return { name, message, ...(stack === undefined ? {} : { stack }) };
}

/** The error again, of the class that those who ask look for. */
export function errorOf({ name, message, stack }: ErrorNote): Error {
  switch (name) {
    case "StoreAwayError":
      return new StoreAwayError(message);
    case "StoreRefusedError":
      return new StoreRefusedError(message);
    case "BadCursorError":
      return new BadCursorError(message);
    default: {
      const error = new Error(message);
      if (stack !== undefined) error.stack = stack;
      return error;
    }
  }
}
