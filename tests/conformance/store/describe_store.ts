/**
 * What any adapter of the store port must do, run against a real store. An adapter's test file calls
 * this with a harness.
 */
import { afterAll, describe } from "bun:test";
import { creating } from "./creating.ts";
import { devices } from "./devices.ts";
import type { StoreHarness } from "./harness.ts";
import { leases } from "./leases.ts";
import { life } from "./life.ts";
import { listing } from "./listing.ts";
import { recording } from "./recording.ts";
import { retention } from "./retention.ts";
import { sceneTests } from "./scene.ts";
import { schedules } from "./schedules.ts";
import { waiting } from "./waiting.ts";

const subjects = {
  "opening and closing": life,
  recording,
  creating,
  listing,
  waiting,
  retention,
  schedules,
  leases,
  devices,
};

export function describeStore(name: string, harness: StoreHarness): void {
  describe(`store ${name}`, () => {
    afterAll(() => harness.dispose());
    const it = sceneTests(harness);
    for (const [subject, define] of Object.entries(subjects)) {
      describe(subject, () => define(it, harness));
    }
  });
}
