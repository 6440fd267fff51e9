/**
 * The embedded broker's files, cut, zeroed or with changed bytes at any place: it starts with what can
 * be read, or refuses in one sentence that names the file. What it delivers is what was published, and
 * what stood before the damage is there.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Broker } from "../../src/broker/broker.ts";
import { BrokerRefusedError } from "../../src/broker/errors.ts";
import { openEmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { holdsLater, LIMIT_MS } from "./runs.ts";

const COUNT = 120;
const PAGE_BYTES = 4_096;
const FILE = "broker.sqlite";
const WAL = "broker.sqlite-wal";
const root = mkdtempSync(join(tmpdir(), "coxswain-fuzz-"));
/** As a crash leaves it: what was confirmed stands in the write-ahead log; and as a stop leaves it. */
const crashed = join(root, "crashed");
const stopped = join(root, "stopped");

/** From 20 bytes to 9 KB, so that some are alone in their pages. */
const bodyOf = (index: number) => `${index}:`.padEnd(20 + index * 75, "x");

beforeAll(async () => {
  const live = join(root, "live");
  const broker = openEmbeddedBroker({ dataDir: live });
  await broker.start();
  await broker.declareQueue({ name: "q" });
  for (let index = 0; index < COUNT; index++) {
    await broker.publish({
      exchange: "",
      routingKey: "q",
      properties: { persistent: true, messageId: `${index}`, headers: { index } },
      body: new TextEncoder().encode(bodyOf(index)),
    }, { confirm: true });
  }
  copy(live, crashed);
  await broker.stop();
  copy(live, stopped);
}, LIMIT_MS);
afterAll(() => rmSync(root, { recursive: true }));

function copy(from: string, to: string): void {
  mkdirSync(to);
  for (const file of [FILE, WAL]) {
    if (existsSync(join(from, file))) copyFileSync(join(from, file), join(to, file));
  }
}

interface Damage {
  readonly of: "crashed" | "stopped";
  readonly file: typeof FILE | typeof WAL;
  readonly kind: "cut" | "flip" | "zero";
  /** From 0 to 1: where in the file. */
  readonly at: number;
  readonly mask: number;
}

const damage: fc.Arbitrary<Damage> = fc.record({
  of: fc.constantFrom("crashed", "stopped"),
  file: fc.constantFrom(FILE, WAL),
  kind: fc.constantFrom("cut", "flip", "zero"),
  at: fc.nat(999_999).map((millionths) => millionths / 1_000_000),
  mask: fc.integer({ min: 1, max: 255 }),
});

function inflict(folder: string, { file, kind, at, mask }: Damage): void {
  const path = join(folder, file);
  if (!existsSync(path)) return;
  const bytes = readFileSync(path);
  const place = Math.floor(at * bytes.length);
  if (kind === "cut") return truncateSync(path, place);
  if (kind === "flip") bytes[place] = (bytes[place] ?? 0) ^ mask;
  else bytes.fill(0, place, Math.min(bytes.length, place + PAGE_BYTES));
  writeFileSync(path, bytes);
}

interface Read {
  readonly indexes: readonly number[];
  readonly unreadable: number;
}

/** Takes all that the queue has. */
async function readAll(broker: Broker): Promise<Read> {
  const waiting = (await broker.inspectQueue("q"))?.messages ?? 0;
  const indexes: number[] = [];
  let unreadable = 0;
  if (waiting === 0) return { indexes, unreadable };
  const consumer = await broker.consume("q", { prefetch: 1_000 });
  for await (const delivery of consumer) {
    const { unreadable: reason, message: { body, properties } } = delivery;
    if (reason === undefined) {
      const text = new TextDecoder().decode(body);
      const index = Number(properties.messageId);
      // Contents have no checksums: a byte in one may be another.
      if (text.length === bodyOf(index).length) indexes.push(index);
    } else unreadable++;
    delivery.ack();
    if (indexes.length + unreadable >= waiting) break;
  }
  return { indexes, unreadable };
}

/** Changes the file that a stop leaves, and starts the broker with it. */
async function startedAfter(change: (bytes: Buffer) => Buffer): Promise<Read & { kept: string[] }> {
  const folder = mkdtempSync(join(root, "page-"));
  writeFileSync(join(folder, FILE), change(readFileSync(join(stopped, FILE))));
  const broker = openEmbeddedBroker({ dataDir: folder });
  try {
    await broker.start();
    const kept = readdirSync(folder).filter((name) => name.includes(".damaged-"));
    return { ...await readAll(broker), kept };
  } finally {
    await broker.stop();
  }
}

test("the list of queues is lost: their messages are in queues of those names again", async () => {
  const { indexes, kept } = await startedAfter((bytes) => {
    // The page whose only row is that of the only queue.
    const page = Math.floor(bytes.indexOf('q{"durable":true}') / PAGE_BYTES);
    return bytes.fill(0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  });
  expect(indexes).toHaveLength(COUNT);
  expect(kept).toHaveLength(1);
});

test("a file that was cut: what is left of it is there", async () => {
  const { indexes, kept } = await startedAfter((bytes) => bytes.subarray(0, bytes.length * 0.7));
  expect(indexes.length).toBeGreaterThan(COUNT / 4);
  expect(kept).toHaveLength(1);
});

test(
  "a damaged file is brought over or refused with a reason; what is whole is delivered",
  async () => {
    let runs = 0;
    const kept = { started: 0, refused: 0, salvaged: 0, survivors: 0 };
    await holdsLater(
      damage,
      async (given) => {
        const folder = join(root, `run-${runs++}`);
        copy(given.of === "crashed" ? crashed : stopped, folder);
        inflict(folder, given);
        const broker = openEmbeddedBroker({ dataDir: folder });
        try {
          await broker.start();
          const { indexes } = await readAll(broker);
          kept.started++;
          kept.survivors += indexes.length;
          expect(new Set(indexes).size).toBe(indexes.length);
          const isSalvaged = readdirSync(folder).some((name) => name.includes(".damaged-"));
          if (isSalvaged) kept.salvaged++;
          // A log that ends early holds what was confirmed before.
          if (given.file === WAL && given.kind === "cut") {
            expect(indexes).toEqual(Array.from(indexes, (_, place) => place));
            if (given.of === "stopped") expect(indexes).toHaveLength(COUNT);
          }
        } catch (error) {
          if (!(error instanceof BrokerRefusedError)) throw error;
          kept.refused++;
          expect(error.message).toContain(folder);
          expect(error.message).toMatch(/damaged|newer version|Cannot read|Cannot open/);
          expect(error.message).not.toContain("\n");
        } finally {
          await broker.stop();
          rmSync(folder, { recursive: true });
        }
      },
      120,
    );
    expect(kept.started).toBeGreaterThan(kept.refused);
  },
  LIMIT_MS,
);
