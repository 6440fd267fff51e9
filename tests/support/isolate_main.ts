/** Stands for main.ts where tests start process isolates: the hidden command alone. */
import { ISOLATE_PROCESS_ARGUMENT } from "../../src/isolates/process_isolate.ts";
import { runIsolateProcess } from "../../src/isolates/process_entry.ts";

if (process.argv.includes(ISOLATE_PROCESS_ARGUMENT)) runIsolateProcess();
else throw new Error(`Cannot start: ${ISOLATE_PROCESS_ARGUMENT} was expected`);
