/** Keeps so many requests in flight until all are made, and counts how each ended. */
import { type Figures, figuresOf } from "./figures.ts";

/** How one request ended. */
export type Ended =
  | { readonly kind: "succeeded" }
  /** `type`: what it was, for counting. */
  | { readonly kind: "failed"; readonly type: string }
  /** Cut off by whoever ended the load: it counts as never made. */
  | { readonly kind: "cut" };

export interface LoadOptions {
  readonly requests: number;
  /** In flight at once. */
  readonly concurrency: number;
  /** Makes one request, and cuts it off when the signal aborts. Never rejects. */
  readonly request: (signal: AbortSignal) => Promise<Ended>;
  /** Ends the load. */
  readonly signal: AbortSignal;
  /** Called after each request. */
  readonly onProgress?: (done: number, succeeded: number) => void;
}

export async function runLoad(options: LoadOptions): Promise<Figures> {
  const { requests, concurrency, request, signal, onProgress } = options;
  const durations: number[] = [];
  const failures = new Map<string, number>();
  const startedAt = performance.now();
  let begun = 0;
  let done = 0;
  const client = async () => {
    while (begun < requests && !signal.aborted) {
      begun++;
      const before = performance.now();
      const ended = await request(signal);
      if (ended.kind === "cut") return;
      if (ended.kind === "succeeded") durations.push(performance.now() - before);
      else failures.set(ended.type, (failures.get(ended.type) ?? 0) + 1);
      onProgress?.(++done, durations.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, requests) }, client));
  return figuresOf(durations, failures, performance.now() - startedAt);
}
