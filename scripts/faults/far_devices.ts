/** Devices in a process of their own, which may live in another network: `far_devices.ts HOST PORT`. */
import { DeviceCrowd } from "./device_crowd.ts";

const [host = "127.0.0.1", port = "8123"] = process.argv.slice(2);
const DEVICES = 20;

new DeviceCrowd(host, Number(port), DEVICES);
