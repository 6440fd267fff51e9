/** kill -9 at any moment loses no confirmed durable message, and hides no second delivery. */
import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { drain, within } from "../../conformance/broker/scene.ts";
import { DataFolder } from "./data_folder.ts";

const ROUNDS = 8;
const LONGEST_LIFE_MS = 250;

/** Lets a busy process work for a moment and kills it; returns what it wrote down, by word. */
async function busyAndKilled(dataDir: string, logPath: string, round: number) {
  const program = join(import.meta.dir, "busy_process.ts");
  const child = spawn(process.execPath, [program, dataDir, logPath, `${round}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await within(
    new Promise((resolve, reject) => {
      child.stdout.once("data", resolve);
      child.once("exit", () => reject(new Error("The busy process ended before it was killed")));
    }),
    "the busy process to begin",
  );
  // Any moment is right: this is not waiting for anything.
  await new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_LIFE_MS));
  child.kill("SIGKILL");
  await ended;
  const noted = {
    confirmed: new Set<string>(),
    seen: new Set<string>(),
    acking: new Set<string>(),
  };
  for (const line of readFileSync(logPath, "utf8").split("\n")) {
    const [word, id] = line.split(" ");
    if (id === undefined) continue;
    if (word === "confirmed" || word === "seen" || word === "acking") noted[word].add(id);
  }
  return noted;
}

test("kill -9 loses no confirmed durable message and no mark of redelivery", async () => {
  await using folder = new DataFolder();
  let confirmedAtAll = 0;
  let seenAtAll = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const log = join(folder.root, `log-${round}`);
    const { confirmed, seen, acking } = await busyAndKilled(folder.path, log, round);
    const broker = folder.broker();
    const connection = broker.connect();
    await connection.start();
    const kept = await drain(connection, "work");
    await broker.stop();

    const found = new Map(
      kept.map(({ message, redelivered }) => [message.properties.messageId ?? "", redelivered]),
    );
    expect(found.size).toBe(kept.length);
    const lost = [...confirmed].filter((id) => !found.has(id) && !acking.has(id));
    expect(lost).toEqual([]);
    const hidden = [...found].filter(([id, redelivered]) => seen.has(id) && !redelivered);
    expect(hidden).toEqual([]);
    for (const { message } of kept) {
      const number = Number(message.properties.messageId?.split("-")[1]);
      expect(message.body.length).toBe(number % 2000);
    }
    confirmedAtAll += confirmed.size;
    seenAtAll += seen.size;
  }
  // It did work in between.
  expect(confirmedAtAll).toBeGreaterThan(100);
  expect(seenAtAll).toBeGreaterThan(100);
}, 120_000);
