/** Settings that every node has: its heartbeat, its end, its log. */
import type { Setting } from "../setting.ts";
import { beatsOrOff, choice, duration, exchangeName, matching } from "../value.ts";
import { EVERYWHERE, file, LISTS, NODES, one, onOff } from "./rows.ts";

export const NODE_SETTINGS = {
  nodeId: one({
    group: "Node",
    modes: NODES,
    reader: matching(
      "ID",
      /^[A-Za-z0-9._-]{1,100}$/,
      "1 to 100 letters, digits, dots, underscores and hyphens",
    ),
    defaultText: "the host's name and a random end",
    help: "name of this node, another than any node's alive",
  }),
  grace: one({
    group: "Node",
    modes: NODES,
    reader: duration(),
    fallback: 25_000,
    defaultText: "25s",
    help: "how long what runs may go on after the first SIGTERM or Ctrl-C",
  }),
  heartbeatInterval: one({
    group: "Node",
    modes: NODES,
    reader: beatsOrOff,
    fallback: 0,
    defaultText: "0, which is off",
    help: "log a beat so often, with what the node does; 0 turns it off",
  }),
  heartbeatBroadcast: one({
    group: "Node",
    modes: NODES,
    reader: beatsOrOff,
    fallback: 2_000,
    defaultText: "2s",
    help: "broadcast a beacon so often; 0 turns it off, and fronts cannot tell when this node dies",
  }),
  heartbeatExchange: one({
    group: "Node",
    modes: [...NODES, ...LISTS],
    reader: exchangeName,
    fallback: "Heartbeat",
    help: "fanout exchange for beacons, the same for all nodes",
  }),
  // Not in the file: a node that is deployed with it would stop what runs at any change.
  watch: onOff({
    group: "Node",
    modes: NODES,
    sources: "flag and variable",
    fallback: false,
    help: "while developing: load task files anew when they change, and start anew with changed " +
      "settings",
    helpIn: { serve: "while developing: start anew when the file of settings changes" },
  }),
  config: one({
    group: "Node",
    modes: EVERYWHERE,
    sources: "flag and variable",
    reader: file,
    isPath: true,
    defaultText: "./coxswain.json where there is one",
    help: "file of settings",
  }),
  logLevel: one({
    group: "Log",
    modes: EVERYWHERE,
    reader: choice("LEVEL", ["trace", "debug", "info", "warning", "error", "fatal"], {
      warn: "warning",
      critical: "fatal",
    }),
    defaultText: {
      all: "info",
      serve: "info",
      work: "info",
      call: "warning",
      tasks: "warning",
      nodes: "warning",
      queues: "warning",
      devices: "warning",
      publish: "warning",
      subscribe: "warning",
      job: "warning",
      "dead-letters": "warning",
      schedules: "warning",
      bench: "warning",
    },
    help: "least level to log; logs go to stderr",
  }),
  logFormat: one({
    group: "Log",
    modes: EVERYWHERE,
    reader: choice("FORMAT", ["auto", "pretty", "json"]),
    fallback: "auto" as const,
    help: "auto is pretty on a terminal and JSON lines elsewhere",
  }),
} as const satisfies Readonly<Record<string, Setting>>;
