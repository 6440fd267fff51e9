/** `app bench`: loads a front, shows how far it is, and tells what it came to. */
import { type Figures, percentageOf, QUANTILE_NAMES, type QuantileName } from "../bench/figures.ts";
import { openFrontLoad } from "../bench/front_load.ts";
import { runLoad } from "../bench/load.ts";
import type { BenchConfig } from "../config/config.ts";
import { EXIT } from "./exit_code.ts";
import type { Output } from "./output.ts";
import { StartupError } from "./startup_error.ts";

/** Where progress is drawn; absent where nobody looks. */
export interface ProgressTerminal {
  readonly columns: number;
  write(text: string): void;
}

/** Pictures a second are enough. */
const DRAW_EVERY_MS = 100;
const BAR_CELLS = 40;
const HISTOGRAM_CELLS = 40;

/**
 * @param interrupt ends it early; what was done so far is told.
 * @throws StartupError when the input is not JSON.
 */
export async function runBench(
  config: BenchConfig,
  { task, input = "" }: { readonly task: string; readonly input?: string },
  output: Output,
  interrupt: AbortSignal,
  terminal: ProgressTerminal | undefined,
): Promise<number> {
  const { target, requests, concurrency, timeoutMs, isJob, json } = config;
  using load = openLoad(() =>
    openFrontLoad({ ...target, task, input, isJob, timeoutMs, concurrency })
  );
  let drawnAt = -Infinity;
  const onProgress = (done: number, succeeded: number) => {
    const now = performance.now();
    if (terminal === undefined || (done < requests && now - drawnAt < DRAW_EVERY_MS)) return;
    drawnAt = now;
    terminal.write(`\r\x1b[K${progressText(done, succeeded, requests, terminal.columns)}`);
  };
  const figures = await runLoad({
    requests,
    concurrency,
    request: (signal) => load.request(signal),
    signal: interrupt,
    onProgress,
  });
  terminal?.write("\r\x1b[K");
  output.print(json ? `${JSON.stringify(plain(figures))}\n` : summary(figures));
  if (figures.requests > 0 && figures.errors.every(({ type }) => type === "connection refused")) {
    if (figures.errors.length > 0 && figures.succeeded === 0) return EXIT.noBroker;
  }
  return figures.succeeded === figures.requests && figures.requests > 0 ? EXIT.well : EXIT.failed;
}

function openLoad<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (error instanceof RangeError) {
      throw new StartupError(`Cannot load the front: INPUT is ${error.message}`);
    }
    if (!(error instanceof SyntaxError)) throw error;
    throw new StartupError(`Cannot load the front: INPUT is not JSON: ${error.message}`);
  }
}

export function progressText(
  done: number,
  succeeded: number,
  requests: number,
  columns: number,
): string {
  const figures = ` ${done}/${requests} ${percentageOf({ requests: done, succeeded })} ok`;
  const cells = Math.min(BAR_CELLS, columns - figures.length - 3);
  if (cells < 5) return figures.trim().slice(0, Math.max(0, columns - 1));
  const full = Math.round(done / requests * cells);
  return `[${"#".repeat(full)}${" ".repeat(cells - full)}]${figures}`;
}

/** For people. */
export function summary(figures: Figures): string {
  const { requests, succeeded, tookMs, latencyMs, histogram, errors } = figures;
  const lines = [
    `${percentageOf(figures)} request success!`,
    "",
    `${requests} requests in ${(tookMs / 1_000).toFixed(2)} s, ` +
    `${(succeeded / tookMs * 1_000).toFixed(1)} a second succeeded`,
  ];
  if (latencyMs !== undefined) {
    lines.push(
      QUANTILE_NAMES.map((name) => `${LABELS[name]} ${durationText(latencyMs[name])}`).join("   "),
      "",
      ...histogramLines(histogram),
    );
  }
  if (errors.length > 0) {
    lines.push("", ...errors.map(({ type, count }) => `${String(count).padStart(8)}  ${type}`));
  }
  return `${lines.join("\n")}\n`;
}

const LABELS: Readonly<Record<QuantileName, string>> = {
  p50: "p50",
  p90: "p90",
  p95: "p95",
  p99: "p99",
  p999: "p99.9",
  max: "max",
};

function histogramLines(histogram: Figures["histogram"]): readonly string[] {
  const most = Math.max(...histogram.map(({ count }) => count));
  return histogram.map(({ upToMs, count }) => {
    const bar = "#".repeat(
      count === 0 ? 0 : Math.max(1, Math.round(count / most * HISTOGRAM_CELLS)),
    );
    return `${`up to ${durationText(upToMs)}`.padStart(17)} ${String(count).padStart(8)} ${bar}`
      .trimEnd();
  });
}

function durationText(ms: number): string {
  return ms < 1_000 ? `${ms.toFixed(ms < 10 ? 2 : 1)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}

/** For programs: what `summary` says, with a share besides. */
function plain(figures: Figures): object {
  const { succeeded, requests, tookMs } = figures;
  return {
    ...figures,
    successShare: requests === 0 ? 0 : succeeded / requests,
    perSecond: tookMs === 0 ? 0 : succeeded / tookMs * 1_000,
  };
}
