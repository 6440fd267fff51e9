/** All scenarios, in the order in which they run. */
import type { Scenario } from "./scenario.ts";
import { brokerKill } from "./scenarios/broker_kill.ts";
import { halfOpen } from "./scenarios/half_open.ts";
import { allInOneKill, nodeKill } from "./scenarios/node_kill.ts";

export const SCENARIOS: readonly Scenario[] = [brokerKill, halfOpen, nodeKill, allInOneKill];
