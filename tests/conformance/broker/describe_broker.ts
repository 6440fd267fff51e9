/**
 * What any adapter of the broker port must do, run against a real broker. An adapter's test file
 * calls this with a harness; what the adapter lacks is named there with its reason.
 */
import { afterAll, describe } from "bun:test";
import { connection } from "./connection.ts";
import { consuming } from "./consuming.ts";
import { durability } from "./durability.ts";
import { expiry } from "./expiry.ts";
import type { BrokerHarness } from "./harness.ts";
import { priorities } from "./priorities.ts";
import { privateQueues } from "./private_queues.ts";
import { propertiesSurvive } from "./properties.ts";
import { publishing } from "./publishing.ts";
import { queues } from "./queues.ts";
import { routing } from "./routing.ts";
import { sceneTests } from "./scene.ts";
import { settling } from "./settling.ts";

const subjects = {
  routing,
  publishing,
  properties: propertiesSurvive,
  consuming,
  settling,
  priorities,
  expiry,
  queues,
  "private queues": privateQueues,
  connection,
  durability,
};

export function describeBroker(name: string, harness: BrokerHarness): void {
  describe(`broker ${name}`, () => {
    afterAll(() => harness.dispose());
    const it = sceneTests(harness);
    for (const [subject, define] of Object.entries(subjects)) describe(subject, () => define(it));
  });
}
