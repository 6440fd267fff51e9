/**
 * The soak: mixed work for a long time with random kills, and what the processes hold at its end.
 * `deno task soak [--minutes 30] [--seed N] [--json]`. Ends with 1 where something grew or was lost.
 */
import { parseArgs } from "node:util";
import { failures, figures, table } from "./faults/report.ts";
import { soak } from "./faults/soak/soak.ts";
import { runScenarios } from "./faults/trial.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    seed: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error("--minutes needs a number over 0, --seed a whole number");
  process.exit(2);
}
console.error(`seed ${seed}, ${minutes} minutes; figures are memory / handles / threads`);
const verdicts = await runScenarios([soak], 1, {
  seed,
  durationMs: minutes * 60_000,
  isShort: false,
  say: (line) => console.error(line),
});
if (values.json) console.log(JSON.stringify({ seed, minutes, verdicts }, null, 2));
else {
  console.log(table(verdicts));
  for (const line of figures(verdicts)) console.log(line);
  for (const line of failures(verdicts)) console.log(line);
}
process.exit(verdicts.every(({ isPassed }) => isPassed) ? 0 : 1);
