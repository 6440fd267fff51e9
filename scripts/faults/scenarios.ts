/** All scenarios, in the order in which they run. */
import type { Scenario } from "./scenario.ts";
import { alarms } from "./scenarios/alarms.ts";
import { brokerKill } from "./scenarios/broker_kill.ts";
import { confirmCut } from "./scenarios/confirm_cut.ts";
import { ackTimeout, channelException, queueDeleted } from "./scenarios/consumers_lost.ts";
import { devicesFrontKill, devicesHalfOpen } from "./scenarios/devices.ts";
import { diskFull, diskFullRecords } from "./scenarios/disk_full.ts";
import { halfOpen } from "./scenarios/half_open.ts";
import { isolates } from "./scenarios/isolates.ts";
import { allInOneKill, nodeKill } from "./scenarios/node_kill.ts";
import { allInOneStop, nodeStop } from "./scenarios/node_stop.ts";
import { allInOneTerm, nodeTerm } from "./scenarios/node_term.ts";
import { postgresAway } from "./scenarios/postgres_away.ts";

export const SCENARIOS: readonly Scenario[] = [
  brokerKill,
  halfOpen,
  diskFull,
  diskFullRecords,
  nodeKill,
  allInOneKill,
  nodeStop,
  allInOneStop,
  nodeTerm,
  allInOneTerm,
  confirmCut,
  queueDeleted,
  channelException,
  ackTimeout,
  alarms,
  isolates,
  postgresAway,
  devicesFrontKill,
  devicesHalfOpen,
];
