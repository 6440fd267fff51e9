/** The embedded broker does what any broker must. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedBroker } from "../../../src/broker/embedded/embedded_broker.ts";
import { describeBroker } from "../../conformance/broker/describe_broker.ts";

const dataDir = mkdtempSync(join(tmpdir(), "cox-embedded-"));
let broker = new EmbeddedBroker({ dataDir });

describeBroker("embedded", {
  lacks: {
    "quorum-queues": "the broker is one process with one file: there is nothing to replicate to",
    reconnect: "the broker is in the process: a connection to it cannot be lost",
  },
  create: () => broker.connect(),
  async restart() {
    await broker.stop();
    broker = new EmbeddedBroker({ dataDir });
  },
  async dispose() {
    await broker.stop();
    rmSync(dataDir, { recursive: true });
  },
});
