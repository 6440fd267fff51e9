/**
 * Thermometers that are connected to the gateway, and told to recalibrate when they drift.
 *
 *     ./app all --tasks samples
 *     bun scripts/device_simulator.ts --devices 3 --drift 0.2
 *
 * Each reports a line now and then: what it measures, and what it reads of a reference that has 0
 * degrees.
 */
import { consume, context, devices } from "coxswain";

/** How far a thermometer may be wrong, in degrees. */
const TOLERANCE = 0.5;

const REPORT = /^celsius (-?\d+\.\d+) reference (-?\d+\.\d+)$/;

consume(
  // Lines of devices are topics of the channels: `device.<id>.line`.
  { queue: "thermometers", exchange: "cox.pubsub", keys: "device.*.line", timeout: "10s" },
  async (line: unknown, _envelope, { headers }) => {
    const device = String(headers["cox-device"]);
    const [, celsius, reference] = REPORT.exec(String(line)) ?? [];
    // "recalibrated" is a line too.
    if (celsius === undefined || Math.abs(Number(reference)) <= TOLERANCE) return;
    const answer = await devices.send(device, "recalibrate", { reply: "2s" });
    context.log.info("{device} was off by {reference} and says {answer}", {
      device,
      reference,
      answer,
    });
  },
);
