/** samples/thermometer.ts with the simulator, as a newcomer runs them. */
import { expect, test } from "bun:test";
import { startSimulator } from "../../scripts/device_simulator.ts";
import { startNode, until } from "../support/app.ts";
import { devicePort } from "../support/devices.ts";

const SAMPLES = new URL("../../samples", import.meta.url).pathname;

test("thermometers that drift are told to recalibrate", async () => {
  await using app = await startNode([
    ...["all", "--port", "0", "--device-port", "0", "--isolates", "1", "--tasks", SAMPLES],
  ]);
  const simulator = await startSimulator({
    port: devicePort(app),
    devices: 3,
    intervalMs: 100,
    drift: 0.1,
  });
  try {
    await until(
      () => simulator.thermometers.every(({ recalibrations }) => recalibrations >= 2),
      "each to have been told twice",
    );
    expect(simulator.fleet.size).toBe(3);
    await app.logged(/was off by/);
  } finally {
    simulator.stop();
  }
}, 60_000);
