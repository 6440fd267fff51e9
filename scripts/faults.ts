/**
 * Fault runs: programs that try to break what is promised, against the compiled executable and real
 * services. `deno task faults [NAME…] [--short] [--seed N] [--duration S] [--at-once N]
 * [--json] [--list]`; all
 * scenarios unless some are named. Ends with 1 when a promise was broken.
 */
import { availableParallelism, loadavg } from "node:os";
import { parseArgs } from "node:util";
import type { Scenario } from "./faults/scenario.ts";
import { SCENARIOS } from "./faults/scenarios.ts";
import { failures, figures, table } from "./faults/report.ts";
import { runScenarios } from "./faults/trial.ts";

/** Each scenario breaks things as often as it must at least. */
const SHORT_MS = 1;
/** They mostly wait. */
const SHORT_AT_ONCE = 5;
const DURATION_S = 30;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: "boolean", default: false },
    seed: { type: "string" },
    duration: { type: "string" },
    "at-once": { type: "string" },
    json: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    quiet: { type: "boolean", default: false },
  },
});

if (values.list) {
  for (const { name, does } of SCENARIOS) console.log(`${name.padEnd(18)} ${does}`);
  process.exit(0);
}

const unknown = positionals.filter((name) => !SCENARIOS.some((each) => each.name === name));
if (unknown.length > 0) {
  console.error(`No such scenario: ${unknown.join(", ")}. There are:`);
  for (const { name } of SCENARIOS) console.error(`  ${name}`);
  process.exit(2);
}

const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const durationMs = values.duration === undefined
  ? values.short ? SHORT_MS : DURATION_S * 1_000
  : Number(values.duration) * 1_000;
if (!Number.isSafeInteger(seed) || !(durationMs > 0)) {
  console.error("--seed needs a whole number and --duration seconds, more than 0");
  process.exit(2);
}
const atOnce = Number(values["at-once"] ?? (values.short ? SHORT_AT_ONCE : 1));
if (!Number.isSafeInteger(atOnce) || atOnce < 1) {
  console.error("--at-once needs a whole number from 1");
  process.exit(2);
}
const chosen: readonly Scenario[] = positionals.length === 0
  ? SCENARIOS
  : SCENARIOS.filter(({ name }) => positionals.includes(name));

const [busy = 0] = loadavg();
if (!values.json) {
  // What else runs on the machine decides how soon things are well again.
  console.log(`seed ${seed}; ${availableParallelism()} processors, load ${busy.toFixed(1)}`);
}
const startedAt = performance.now();
const verdicts = await runScenarios(chosen, atOnce, {
  seed,
  durationMs,
  isShort: values.short,
  say: values.quiet || values.json ? () => {} : (line) => console.error(line),
});
const seconds = Math.round((performance.now() - startedAt) / 1_000);
if (values.json) console.log(JSON.stringify({ seed, seconds, verdicts }, null, 2));
else {
  console.log(table(verdicts));
  for (const line of figures(verdicts)) console.log(line);
  for (const line of failures(verdicts)) console.log(line);
  const failed = verdicts.filter(({ isPassed }) => !isPassed).length;
  const skipped = verdicts.filter(({ skipped }) => skipped !== undefined).length;
  const held = verdicts.length - failed - skipped;
  console.log(
    `${held} held, ${failed} broken, ${skipped} not run, in ${seconds} s; again: --seed ${seed}`,
  );
}
process.exit(verdicts.every(({ isPassed }) => isPassed) ? 0 : 1);
