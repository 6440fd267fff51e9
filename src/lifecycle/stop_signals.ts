/** Being told to stop, by a supervisor or by Ctrl-C: the first time kindly, the second time at once. */

/** What a program does about it. */
export interface StopSignals extends Disposable {
  /** Resolves with the signal's name when the first one comes. */
  readonly told: Promise<NodeJS.Signals>;
}

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** @param onSecond called when one comes again: there is no patience left. */
export function listenForStop(onSecond: (signal: NodeJS.Signals) => void): StopSignals {
  const first = Promise.withResolvers<NodeJS.Signals>();
  let isTold = false;
  const listeners = SIGNALS.map((signal) => {
    const listener = () => {
      if (isTold) onSecond(signal);
      isTold = true;
      first.resolve(signal);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return {
    told: first.promise,
    [Symbol.dispose]: () => {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    },
  };
}
