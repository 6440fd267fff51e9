import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { StoreAwayError, StoreRefusedError } from "../../../src/store/errors.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { rejection } from "../../conformance/store/life.ts";
import { Life, request, START } from "../../jobs/job_lives.ts";
import { makeFolder } from "../../support/folders.ts";

describe("SqliteStore", () => {
  test("refuses a file that another process has, until that is gone, kill -9 included", async () => {
    await using folder = await makeFolder();
    const other = spawn(process.execPath, [
      join(import.meta.dir, "recorder_process.ts"),
      folder.path,
      "job-1",
    ], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => other.once("exit", resolve));
    await new Promise((resolve) => other.stdout.once("data", resolve));
    const store = new SqliteStore({ dataDir: folder.path });
    const error = await rejection(store.open());
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect(String(error)).toContain("another process");
    expect(String(error)).toContain("--store postgres://");
    other.kill("SIGKILL");
    await ended;
    await store.open();
    // What was recorded is there, whatever became of the process.
    expect(await store.get("job-1")).toMatchObject({ state: "succeeded" });
    await store.close();
  });

  test("keeps its file from others' eyes", async () => {
    await using folder = await makeFolder();
    const store = new SqliteStore({ dataDir: folder.file("data") });
    await store.open();
    expect(statSync(folder.file("data")).mode & 0o777).toBe(0o700);
    expect(statSync(store.place).mode & 0o777).toBe(0o600);
    await store.close();
  });

  test("refuses what is no store, and says what to do", async () => {
    await using folder = await makeFolder({
      "text/jobs.sqlite": "not a database, but a text of more than a hundred bytes".repeat(9),
      "file": "a file where the folder should be",
    });
    await mkdir(folder.file("newer"));
    const newer = new DatabaseSync(folder.file("newer/jobs.sqlite"));
    newer.exec("PRAGMA user_version = 99");
    newer.close();
    for (
      const [name, reason] of [["text", "--data"], ["file", "--data"], [
        "newer",
        "format 99",
      ]] as const
    ) {
      const error = await rejection(new SqliteStore({ dataDir: folder.file(name) }).open());
      expect(error).toBeInstanceOf(StoreRefusedError);
      expect(String(error)).toContain(reason);
    }
  });

  test("is away while its disk is full, loses nothing, and goes on when there is room", async () => {
    await using folder = await makeFolder();
    const store = new SqliteStore({ dataDir: folder.path, maxFileBytes: 1024 * 1024 });
    await store.open();
    const large = "x".repeat(50_000);
    const kept: string[] = [];
    let error: unknown;
    while (error === undefined && kept.length < 1_000) {
      const life = new Life().accepted(request({}, [large])).outcome();
      try {
        await store.recordEvents(life.events);
        kept.push(life.id);
      } catch (caught) {
        error = caught;
      }
    }
    expect(error).toBeInstanceOf(StoreAwayError);
    expect(String(error)).toContain("disk full");
    expect((await store.stats()).byState.succeeded).toBe(kept.length);
    for (const id of kept) expect(await store.get(id)).toMatchObject({ state: "succeeded" });

    expect(await store.deleteFinished(kept.slice(0, 5))).toBe(5);
    const again = new Life().accepted(request({}, [large]));
    await store.recordEvents(again.events);
    expect(await store.get(again.id)).toMatchObject({ state: "queued" });
    await store.close();
  });

  test("a write that fails takes none of its neighbours with it", async () => {
    await using folder = await makeFolder();
    const store = new SqliteStore({ dataDir: folder.path });
    await store.open();
    const [good, bad, late] = [new Life().accepted(), new Life().accepted(), new Life().accepted()];
    const broken = bad.events.map((event) => ({ ...event, createdAt: 0.5 }));
    const results = await Promise.allSettled([
      store.recordEvents(good.events),
      store.recordEvents([...late.started().events.slice(1), ...broken]),
      store.recordEvents(late.events),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(await store.get(good.id)).toMatchObject({ state: "queued" });
    expect(await store.get(bad.id)).toBeUndefined();
    expect(await store.get(late.id)).toMatchObject({ state: "running", createdAt: START });
    expect((await store.stats()).byState).toMatchObject({ queued: 1, running: 1 });
    await store.close();
  });

  test("finds what waits by its indexes, however many jobs there are", async () => {
    await using folder = await makeFolder();
    const store = new SqliteStore({ dataDir: folder.path });
    await store.open();
    await store.close();
    const database = new DatabaseSync(store.place);
    const planOf = (sql: string) =>
      database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all().map((row) => String(row["detail"]));
    for (
      const [where, index] of [
        ["due_at <= 1 ORDER BY due_at", "jobs_due"],
        ["expires_at <= 1 ORDER BY expires_at", "jobs_expiring"],
        ["cancel_at >= 1 ORDER BY cancel_at DESC, id DESC", "jobs_cancelled"],
        ["finished_at < 1 AND dead_at IS NULL ORDER BY finished_at", "jobs_finished"],
      ] as const
    ) {
      const plan = planOf(`SELECT summary FROM jobs WHERE ${where} LIMIT 9`);
      expect(plan).toHaveLength(1);
      expect(plan[0]).toContain(index);
    }
    database.close();
  });
});
