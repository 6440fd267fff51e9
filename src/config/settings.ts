/**
 * The one table of settings: flags, help, variables and the keys of coxswain.json all come from it.
 * A key `amqpUrl` is the flag `--amqp-url` and the variable `COX_AMQP_URL`. Its parts lie in settings/.
 */
import type { Setting, ValueOf } from "./setting.ts";
import { BROKER_SETTINGS } from "./settings/broker_settings.ts";
import { CALL_SETTINGS } from "./settings/call_settings.ts";
import { DEVICE_SETTINGS } from "./settings/device_settings.ts";
import { FRONT_SETTINGS } from "./settings/front_settings.ts";
import { JOBS_SETTINGS } from "./settings/jobs_settings.ts";
import { NODE_SETTINGS } from "./settings/node_settings.ts";
import { WORKER_SETTINGS } from "./settings/worker_settings.ts";

/** Read from the working folder where no other is named. */
export const SETTINGS_FILE = "coxswain.json";

export const SETTINGS = {
  ...CALL_SETTINGS,
  ...FRONT_SETTINGS,
  ...DEVICE_SETTINGS,
  ...BROKER_SETTINGS,
  ...JOBS_SETTINGS,
  ...WORKER_SETTINGS,
  ...NODE_SETTINGS,
} as const satisfies Readonly<Record<string, Setting>>;

export type SettingKey = keyof typeof SETTINGS;

/** Every setting's value, from wherever it was given, or its default. */
export type Values = { readonly [K in SettingKey]: ValueOf<typeof SETTINGS[K]> };

/** The keys in the table's order. */
export const SETTING_KEYS: readonly SettingKey[] = Object.keys(SETTINGS).filter(isSettingKey);

export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key);
}

/** A setting's row, whatever its value. */
export function settingOf(key: SettingKey): Setting {
  return SETTINGS[key];
}
