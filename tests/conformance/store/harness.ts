/** What an adapter's test file supplies so that the conformance suite can run against it. */
import type { Clock } from "../../../src/lifecycle/clock.ts";
import type { Store } from "../../../src/store/store.ts";

export interface StoreOptions {
  readonly maxResultBytes?: number;
  /** For adapters whose clock is this process's. */
  readonly clock?: Clock;
}

/** An empty place for one test. */
export interface StorePlace extends AsyncDisposable {
  /** A new store there, not opened. */
  create(options?: StoreOptions): Store;
}

export interface StoreHarness {
  /** Several stores may be open at one place at once. */
  readonly isShared: boolean;
  makePlace(): Promise<StorePlace>;
  /** Called once, after all tests. */
  dispose(): Promise<void>;
}
