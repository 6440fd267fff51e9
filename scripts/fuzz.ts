/**
 * `deno task fuzz [TIMES]`: the properties of tests/fuzz from a seed of their own, TIMES as often as CI
 * tries them (default 20). What fails prints its seed; FUZZ_SEED=… tries it again.
 */
import { spawn } from "node:child_process";

const times = process.argv[2] ?? "20";
if (!/^[1-9]\d{0,4}$/.test(times)) {
  console.error(`Cannot fuzz ${times} times as often: expected a whole number from 1 to 99999`);
  process.exit(2);
}
const seed = process.env["FUZZ_SEED"] ?? `${Date.now() % 2 ** 31}`;
console.log(`FUZZ_SEED=${seed} FUZZ_RUNS=${times}`);
const tests = spawn(process.execPath, ["test", "tests/fuzz"], {
  stdio: "inherit",
  env: { ...process.env, FUZZ_SEED: seed, FUZZ_RUNS: times },
});
tests.on("exit", (code) => process.exit(code ?? 1));
