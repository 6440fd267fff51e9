/** Verdicts as a reader sees them. */
import type { Verdict } from "./scenario.ts";

type Column = readonly [head: string, cell: (verdict: Verdict) => string];

const COLUMNS: readonly Column[] = [
  ["scenario", ({ name }) => name],
  ["faults", ({ faults }) => String(faults)],
  ["jobs asked", ({ account }) => cell(account?.attempted)],
  ["accepted", ({ account }) => cell(account?.accepted)],
  ["lost", ({ account }) => cell(account?.lost.length)],
  ["repeated", ({ account }) => cell(account?.repeated)],
  ["unmarked", ({ account }) => cell(account?.unmarked.length)],
  ["calls", ({ account }) => cell(account?.calls)],
  ["ok", ({ account }) => cell(account?.endings.ok ?? 0)],
  ["back in", ({ backInMs }) => backInMs === undefined ? "" : `${(backInMs / 1_000).toFixed(1)} s`],
  ["took", ({ seconds }) => `${seconds} s`],
  ["verdict", ({ isPassed, skipped }) => skipped ? "not run" : isPassed ? "held" : "BROKEN"],
];

/** One line a verdict, below heads, in aligned columns. */
export function table(verdicts: readonly Verdict[]): string {
  const rows = [
    COLUMNS.map(([head]) => head),
    ...verdicts.map((verdict) => COLUMNS.map(([, cell]) => cell(verdict))),
  ];
  const widths = COLUMNS.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row.map((text, i) => {
      const width = widths[i] ?? 0;
      return i === 0 ? text.padEnd(width) : text.padStart(width);
    }).join("  ")
  ).join("\n");
}

/** What was measured beside, by scenario. */
export function figures(verdicts: readonly Verdict[]): readonly string[] {
  return verdicts.flatMap(({ name, figures, account }) => {
    const endings = account === undefined ? {} : { calls: JSON.stringify(account.endings) };
    return Object.entries({ ...endings, ...figures }).map(([what, value]) =>
      `${name}: ${what}: ${value}`
    );
  });
}

/** What was not met, by scenario. */
export function failures(verdicts: readonly Verdict[]): readonly string[] {
  return verdicts.flatMap(({ name, checks }) =>
    checks.filter(({ isMet }) => !isMet).map(({ what, seen }) => `${name}: ${what}: ${seen}`)
  );
}

function cell(number: number | undefined): string {
  return number === undefined ? "" : String(number);
}
