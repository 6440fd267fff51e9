/** The setting `exchanges`: what a node declares when it starts. All that is wrong with it is found. */
import { EXCHANGE_TYPES, problemOfExchange } from "../reserved_names.ts";
import type { ExchangeConfig } from "./config.ts";
import type { Fault, StructureReader } from "./setting.ts";

const TYPES = EXCHANGE_TYPES.map((type) => `"${type}"`).join(", ");
const TYPE = `expected one of ${TYPES}`;
const KNOWN: readonly string[] = ["type", "durable"];

export const exchangesReader: StructureReader<readonly ExchangeConfig[]> = {
  metavar: "JSON",
  expected: 'an object of names and types such as {"orders": "topic"}',
  read(given) {
    if (!isRecord(given)) return { faults: [{ path: [], message: `expected ${this.expected}` }] };
    const read = Object.entries(given).map(([name, value]) => readOne(name, value));
    const faults = read.flatMap((one) => "faults" in one ? one.faults : []);
    return faults.length > 0
      ? { faults }
      : { value: read.flatMap((one) => "exchange" in one ? [one.exchange] : []) };
  },
};

type One = { readonly exchange: ExchangeConfig } | { readonly faults: readonly Fault[] };

/** `"topic"` is short for `{"type": "topic"}`. */
function readOne(name: string, value: unknown): One {
  const faults: Fault[] = [];
  const problem = problemOfExchange(name);
  if (problem !== undefined) faults.push({ path: [name], message: `the name ${problem}` });
  const { type, durable, ...strange } = isRecord(value) ? value : { type: value };
  const typePath = isRecord(value) ? [name, "type"] : [name];
  if (!isType(type)) {
    const shown = type === undefined ? {} : { value: JSON.stringify(type) };
    faults.push({ path: typePath, ...shown, message: TYPE });
  }
  if (durable !== undefined && typeof durable !== "boolean") {
    faults.push({
      path: [name, "durable"],
      value: JSON.stringify(durable),
      message: "expected true or false",
    });
  }
  for (const key of Object.keys(strange)) {
    faults.push({ path: [name, key], message: `no such member: there are ${KNOWN.join(", ")}` });
  }
  if (faults.length > 0 || !isType(type)) return { faults };
  return { exchange: { name, type, durable: durable !== false } };
}

function isType(value: unknown): value is ExchangeConfig["type"] {
  return EXCHANGE_TYPES.some((type) => type === value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
