/** When groups are written, what they hold, and what happens where the disk fails. */
import { expect, test } from "bun:test";
import { openDataFile } from "../../../src/broker/embedded/data_file.ts";
import { Entry, type EntryHome } from "../../../src/broker/embedded/entry.ts";
import { HandOutMark } from "../../../src/broker/embedded/hand_out_mark.ts";
import { Journal } from "../../../src/broker/embedded/journal.ts";
import { type Group, JournalFile } from "../../../src/broker/embedded/journal_file.ts";
import { BrokerAwayError } from "../../../src/broker/errors.ts";
import { errorOf } from "../../conformance/broker/scene.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { DataFolder } from "./data_folder.ts";

/** A real file that counts its groups, takes its time and fails when it is told to. */
class WatchedFile extends JournalFile {
  readonly groups: Group[] = [];
  failure: string | undefined;
  /** Fails only for groups with new messages: there is no room, but some can be freed. */
  isOnlyFull = false;
  beforeWrite: () => void = () => undefined;
  /** What the disk itself does; a test may hold it up or let it fail. */
  disk: () => Promise<void> = () => super.sync();
  #underway: Promise<void> = Promise.resolve();

  override write(group: Group): void {
    this.beforeWrite();
    if (this.failure !== undefined && !(this.isOnlyFull && group.inserts.length === 0)) {
      throw new Error(this.failure);
    }
    super.write(group);
    this.groups.push(group);
  }

  override sync(): Promise<void> {
    const done = this.disk();
    this.#underway = done.catch(() => undefined);
    return done;
  }

  /** Nothing is on its way to the disk, and who waited for it has been told. */
  async settled(): Promise<void> {
    await this.#underway;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A clock that also goes on while a write keeps the thread. */
class SlowDiskClock extends FakeClock {
  spentMs = 0;

  override monotonic(): number {
    return super.monotonic() + this.spentMs;
  }
}

class Stage implements AsyncDisposable {
  readonly folder = new DataFolder();
  readonly file = new WatchedFile(openDataFile(this.folder.path));
  readonly clock = new SlowDiskClock();
  readonly told: (string | undefined)[] = [];
  readonly withdrawn: number[] = [];
  pumped = 0;
  readonly journal = new Journal(this.file, this.clock, {
    committed: () => undefined,
    diskFailed: (reason) => this.told.push(reason),
  });
  readonly home: EntryHome = {
    name: "q",
    diskId: 1,
    settle: () => undefined,
    reject: () => undefined,
    giveBack: () => undefined,
    withdraw: (entry) => {
      entry.place = "gone";
      this.withdrawn.push(entry.id);
    },
    pump: () => this.pumped++,
  };
  readonly mark = new HandOutMark(this.home, 0);
  #lastId = 0;

  /** A new waiting message, given to the journal. */
  add(): Entry {
    const message = {
      exchange: "",
      routingKey: "q",
      properties: { persistent: true },
      body: new Uint8Array(10),
    };
    const entry = new Entry(++this.#lastId, this.home, message, this.mark, Infinity, 10);
    entry.place = "ready";
    this.journal.add(entry);
    return entry;
  }

  stored(): number[] {
    return [...this.file.messages()].map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.file.failure = undefined;
    await this.journal.close([]);
    await this.folder[Symbol.asyncDispose]();
  }
}

test("what comes in one turn is one group", async () => {
  await using stage = new Stage();
  await Promise.all(Array.from({ length: 64 }, () => stage.journal.committed([stage.add()])));
  expect(stage.file.groups.length).toBe(1);
  expect(stage.stored().length).toBe(64);
});

test("a message that is settled before its group never touches the disk", async () => {
  await using stage = new Stage();
  const entry = stage.add();
  const committed = stage.journal.committed([entry]);
  entry.place = "gone";
  stage.journal.forget(entry);
  await committed;
  expect(stage.file.groups).toEqual([]);
});

test("what nobody waits for is written a little later, acks too", async () => {
  await using stage = new Stage();
  const entry = stage.add();
  stage.clock.advance(19);
  expect(stage.file.groups.length).toBe(0);
  stage.clock.advance(1);
  expect(stage.stored()).toEqual([1]);
  await stage.file.settled();
  entry.place = "gone";
  stage.journal.forget(entry);
  stage.clock.advance(20);
  expect(stage.stored()).toEqual([]);
  expect(stage.file.groups.length).toBe(2);
});

test("somebody who waits takes what was in no hurry along", async () => {
  await using stage = new Stage();
  stage.add();
  await stage.journal.committed([stage.add()]);
  expect(stage.stored()).toEqual([1, 2]);
  stage.clock.advance(1000);
  expect(stage.file.groups.length).toBe(1);
});

test("a large group that nobody waits for is not kept waiting either", async () => {
  await using stage = new Stage();
  for (let added = 0; added < 2100; added++) stage.add();
  await new Promise((resolve) => setImmediate(resolve));
  expect(stage.stored().length).toBe(2100);
});

test("a slow write is followed by a rest as long, 10 ms at most", async () => {
  await using stage = new Stage();
  stage.file.beforeWrite = () => stage.clock.spentMs += 6;
  await stage.journal.committed([stage.add()]);
  const second = stage.journal.committed([stage.add()]);
  await new Promise((resolve) => setImmediate(resolve));
  stage.clock.advance(5);
  expect(stage.stored()).toEqual([1]);
  stage.clock.advance(1);
  await second;
  expect(stage.stored()).toEqual([1, 2]);

  stage.file.beforeWrite = () => stage.clock.spentMs += 500;
  const third = stage.journal.committed([stage.add()]);
  stage.clock.advance(6);
  await third;
  const fourth = stage.journal.committed([stage.add()]);
  stage.clock.advance(9);
  expect(stage.stored()).toEqual([1, 2, 3]);
  stage.clock.advance(1);
  await fourth;
});

test("a moved mark is on disk before its queue is pumped", async () => {
  await using stage = new Stage();
  stage.add();
  await stage.journal.committed();
  stage.mark.want(1);
  stage.journal.moveMark(stage.mark);
  await stage.journal.committed();
  expect(stage.pumped).toBe(1);
  expect(stage.mark.committedUpTo).toBe(1);
  expect(stage.file.marks()).toEqual([{ queue: 1, priority: 0, upTo: 1 }]);
});

test("a message that was handed out before its group takes the mark along", async () => {
  await using stage = new Stage();
  stage.add();
  const handed = stage.add();
  handed.place = "held";
  handed.wasHanded = true;
  await stage.journal.committed();
  expect(stage.file.groups.length).toBe(1);
  expect(stage.file.marks()).toEqual([{ queue: 1, priority: 0, upTo: 2 }]);
});

test("close() takes back what a mark stands too far ahead", async () => {
  await using stage = new Stage();
  const entry = stage.add();
  stage.mark.want(200);
  stage.journal.moveMark(stage.mark);
  await stage.journal.committed();
  stage.mark.noteHanded(entry);
  const groups = stage.file.groups;
  await stage.journal.close([stage.mark]);
  expect(groups.at(-1)?.marks).toEqual([{ queue: 1, priority: 0, upTo: 1 }]);
});

test("a failing disk is told to those who wait; the rest is kept until it works again", async () => {
  await using stage = new Stage();
  const old = stage.add();
  await stage.journal.committed();
  stage.file.failure = "disk I/O error";
  stage.add();
  old.place = "gone";
  stage.journal.forget(old);
  const error = await errorOf(stage.journal.committed([stage.add()]));
  expect(error).toBeInstanceOf(BrokerAwayError);
  expect(error.message).toContain("disk I/O error");
  expect(stage.withdrawn).toEqual([3]);
  expect(stage.told).toEqual(["disk I/O error"]);
  expect(stage.stored()).toEqual([1]);

  stage.clock.advance(1000);
  expect(stage.told.length).toBe(1);
  stage.file.failure = undefined;
  stage.clock.advance(1000);
  await stage.file.settled();
  expect(stage.told).toEqual(["disk I/O error", undefined]);
  expect(stage.stored()).toEqual([2]);
  stage.clock.advance(10_000);
  expect(stage.file.groups.length).toBe(2);
});

test("a full disk still takes acks, and publishing tries again at once", async () => {
  await using stage = new Stage();
  const old = stage.add();
  await stage.journal.committed();
  stage.file.failure = "database or disk is full";
  stage.file.isOnlyFull = true;
  old.place = "gone";
  stage.journal.forget(old);
  await errorOf(stage.journal.committed([stage.add()]));
  expect(stage.stored()).toEqual([]);
  stage.file.failure = undefined;
  await stage.journal.committed([stage.add()]);
  expect(stage.stored()).toEqual([3]);
  expect(stage.told).toEqual(["database or disk is full", undefined]);
});

test("while the disk fails, consumers go on", async () => {
  await using stage = new Stage();
  stage.file.failure = "disk I/O error";
  stage.mark.want(5);
  stage.journal.moveMark(stage.mark);
  await errorOf(stage.journal.committed());
  expect(stage.mark.committedUpTo).toBe(5);
  expect(stage.pumped).toBe(1);
  stage.file.failure = undefined;
  stage.clock.advance(1000);
  expect(stage.file.marks()).toEqual([{ queue: 1, priority: 0, upTo: 5 }]);
});

test("nobody is told before the disk has it, and what comes meanwhile goes with the next group", async () => {
  await using stage = new Stage();
  const disk = Promise.withResolvers<void>();
  const real = stage.file.disk;
  stage.file.disk = () => disk.promise;
  const told: string[] = [];
  const tell = (what: string) => () => told.push(what);
  const first = stage.journal.committed([stage.add()]).then(tell("first"));
  await new Promise((resolve) => setImmediate(resolve));
  stage.mark.want(1);
  stage.journal.moveMark(stage.mark);
  const second = stage.journal.committed([stage.add()]).then(tell("second"));
  stage.clock.advance(1000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual([]);
  expect(stage.stored()).toEqual([1]);
  expect(stage.mark.committedUpTo).toBe(0);
  stage.file.disk = real;
  disk.resolve();
  await Promise.all([first, second]);
  expect(told).toEqual(["first", "second"]);
  expect(stage.file.groups.length).toBe(2);
  expect(stage.mark.committedUpTo).toBe(1);
});

test("a mark that is wanted further meanwhile is not granted further than it was written", async () => {
  await using stage = new Stage();
  const disk = Promise.withResolvers<void>();
  stage.file.disk = () => disk.promise;
  stage.mark.want(5);
  stage.journal.moveMark(stage.mark);
  const moved = stage.journal.committed();
  await new Promise((resolve) => setImmediate(resolve));
  stage.mark.want(300);
  disk.resolve();
  await moved;
  expect(stage.mark.committedUpTo).toBe(5);
});

test("what is settled while its group is on its way is removed again", async () => {
  await using stage = new Stage();
  const disk = Promise.withResolvers<void>();
  const real = stage.file.disk;
  stage.file.disk = () => disk.promise;
  const entry = stage.add();
  const committed = stage.journal.committed([entry]);
  await new Promise((resolve) => setImmediate(resolve));
  entry.place = "gone";
  stage.journal.forget(entry);
  stage.file.disk = real;
  disk.resolve();
  await committed;
  await stage.journal.committed();
  expect(stage.stored()).toEqual([]);
});

test("a disk that takes a group and then fails is told to those who wait, and tried again", async () => {
  await using stage = new Stage();
  const real = stage.file.disk;
  stage.file.disk = () => Promise.reject(new Error("EIO: i/o error, fdatasync"));
  const error = await errorOf(stage.journal.committed([stage.add()]));
  expect(error).toBeInstanceOf(BrokerAwayError);
  expect(error.message).toContain("EIO");
  expect(stage.withdrawn).toEqual([1]);
  expect(stage.told).toEqual(["EIO: i/o error, fdatasync"]);
  stage.file.disk = real;
  stage.clock.advance(1000);
  await stage.file.settled();
  expect(stage.told).toEqual(["EIO: i/o error, fdatasync", undefined]);
});

test("committed() after close() rejects", async () => {
  await using stage = new Stage();
  await stage.journal.close([]);
  expect(await errorOf(stage.journal.committed())).toBeInstanceOf(BrokerAwayError);
});
