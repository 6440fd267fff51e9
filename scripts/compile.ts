/**
 * Builds the one executable: `bun scripts/compile.ts [--outfile FILE]`, ./app by default. What
 * threads begin with are entry points of their own, because a thread loads its file by the path.
 */
import { rmSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { VERSION } from "../src/version.ts";

const ROOT = join(import.meta.dirname, "..");

const { values } = parseArgs({
  options: { outfile: { type: "string", default: join(ROOT, "app") } },
});
const outfile = resolve(values.outfile);
const startedAt = performance.now();
// A running program's file cannot be written over; a new one can take its name.
rmSync(outfile, { force: true });
const built = await Bun.build({
  entrypoints: [
    join(ROOT, "main.ts"),
    join(ROOT, "src/isolates/entry.ts"),
    join(ROOT, "src/store/sqlite/thread_entry.ts"),
  ],
  root: ROOT,
  target: "bun",
  format: "esm",
  minify: true,
  // Bytecode would start 20 ms sooner, and leave 20 KB behind with each isolate that is killed.
  bytecode: false,
  compile: {
    outfile,
    // Task files import packages that lie beside them, and write paths as their editor knows them.
    autoloadPackageJson: true,
    autoloadTsconfig: true,
    // A file that lies in the working folder by chance must not change or stop the program.
    autoloadBunfig: false,
    autoloadDotenv: false,
  },
  throw: false,
});
for (const message of built.logs) console.error(String(message));
if (!built.success) process.exit(1);
console.log(
  `${relative(process.cwd(), outfile)}: version ${VERSION}, ` +
    `${(statSync(outfile).size / 1e6).toFixed(1)} MB, ` +
    `built in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`,
);
