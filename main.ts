/**
 * The entry of the executable. It imports nothing that only one runtime has before it knows which one
 * it is on, and answers the hidden command that starts a process isolate before it loads the rest.
 */
import process from "node:process";

/** Files that threads begin with; made here, for only in the entry file are they right both from source and compiled. */
const threadEntries = {
  isolate: new URL("./src/isolates/entry.ts", import.meta.url),
  store: new URL("./src/store/sqlite/thread_entry.ts", import.meta.url),
};

async function main(): Promise<number | undefined> {
  if (!("Bun" in globalThis)) {
    console.error(
      'Coxswain runs on Bun, for only there can a task that spins be stopped: start it with "deno ' +
        'task start" (or "npx -y deno task start").',
    );
    return 2;
  }
  const args = process.argv.slice(2);
  if (args[0] === "isolate-process") {
    const { runIsolateProcess } = await import("./src/isolates/process_entry.ts");
    runIsolateProcess();
    return undefined;
  }
  const { runCommandLine } = await import("./src/cli/main.ts");
  return await runCommandLine(args, threadEntries, () => import("./src/cli/run.ts"));
}

main().then((exitCode) => {
  // Threads and sockets that are left must not keep a program alive that has said its last word.
  if (exitCode !== undefined) process.exit(exitCode);
});
