/**
 * Thermometers that connect to a gateway, report and obey: to try samples/thermometer.ts without any.
 *
 *     bun scripts/device_simulator.ts [--port 8123] [--host 127.0.0.1] [--devices 3] [--interval 1000]
 *         [--drift 0.05] [--tokens FILE]
 *
 * `--interval` is in milliseconds, `--drift` in degrees a report. With `--tokens`, the file that the
 * gateway's --device-auth names, each device says who it is by a line of it. Ends with Ctrl-C.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Fleet } from "./devices/fleet.ts";
import { Thermometer } from "./devices/thermometer.ts";

export interface SimulatorOptions {
  readonly host?: string;
  readonly port: number;
  readonly devices: number;
  readonly intervalMs: number;
  readonly drift: number;
  /** First lines, one for each device. Default: they say nothing. */
  readonly greetings?: readonly string[];
  /** Told what they are told. */
  readonly tell?: (text: string) => void;
}

export interface Simulator {
  readonly thermometers: readonly Thermometer[];
  readonly fleet: Fleet;
  stop(): void;
}

/** Resolves when all are connected; they report from then on, not all at the same instant. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { host, port, devices, intervalMs, drift, greetings, tell = () => {} } = options;
  const thermometers = Array.from({ length: devices }, () => new Thermometer({ drift }));
  const fleet = await Fleet.connect({
    ...(host === undefined ? {} : { host }),
    port,
    count: devices,
    ...(greetings === undefined ? {} : { greeting: (device) => greetings[device] ?? "" }),
    heard: (device, line) => {
      const answer = thermometers[device]?.obey(line);
      tell(`device ${device} was told "${line}" and says "${answer ?? ""}"`);
      return answer;
    },
    lost: (device) => tell(`device ${device} has lost its connection`),
  });
  const timers: (ReturnType<typeof setInterval> | ReturnType<typeof setTimeout>)[] = [];
  for (const [device, thermometer] of thermometers.entries()) {
    const report = () => fleet.send(device, thermometer.report());
    timers.push(setTimeout(() => {
      report();
      timers.push(setInterval(report, intervalMs));
    }, (device * intervalMs) / devices));
  }
  return {
    thermometers,
    fleet,
    stop: () => {
      for (const timer of timers) clearTimeout(timer);
      fleet.close();
    },
  };
}

/** Lines of a file of tokens that name a device. */
function greetingsOf(path: string): readonly string[] {
  return readFileSync(path, "utf8").split(/\r?\n/).map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("*"));
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "8123" },
      devices: { type: "string", default: "3" },
      interval: { type: "string", default: "1000" },
      drift: { type: "string", default: "0.05" },
      tokens: { type: "string" },
    },
  });
  const greetings = values.tokens === undefined ? undefined : greetingsOf(values.tokens);
  const simulator = await startSimulator({
    host: values.host,
    port: Number(values.port),
    devices: greetings === undefined
      ? Number(values.devices)
      : Math.min(Number(values.devices), greetings.length),
    intervalMs: Number(values.interval),
    drift: Number(values.drift),
    ...(greetings === undefined ? {} : { greetings }),
    tell: (text) => console.log(text),
  });
  console.log(`${simulator.fleet.size} thermometers report; Ctrl-C ends them`);
  process.once("SIGINT", () => simulator.stop());
}
