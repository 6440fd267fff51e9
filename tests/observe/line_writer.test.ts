import { describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLineWriter, createLineWriterOf } from "../../src/observe/line_writer.ts";

/** A descriptor that takes so many bytes and then says that it is full. */
function narrowPipe(): { room: number; text: string; write: (bytes: Uint8Array) => number } {
  const pipe = {
    room: 0,
    text: "",
    write(bytes: Uint8Array): number {
      if (pipe.room === 0) throw Object.assign(new Error("again"), { code: "EAGAIN" });
      const taken = bytes.subarray(0, pipe.room);
      pipe.room -= taken.length;
      pipe.text += new TextDecoder().decode(taken);
      return taken.length;
    },
  };
  return pipe;
}

describe("createLineWriterOf()", () => {
  test("writes a line in as many pieces as the descriptor takes, whole in the end", () => {
    const pipe = narrowPipe();
    const write = createLineWriterOf(pipe.write);
    pipe.room = 4;
    write("first\n");
    expect(pipe.text).toBe("firs");
    pipe.room = 100;
    write("second\n");
    expect(pipe.text).toBe("first\nsecond\n");
  });

  test("drops lines while the descriptor is full, and tells how many", () => {
    const pipe = narrowPipe();
    const write = createLineWriterOf(pipe.write);
    pipe.room = 1;
    write("a1\n");
    for (let line = 0; line < 1_000; line++) write(`lost ${line}\n`);
    pipe.room = 1_000;
    write("b\n");
    expect(pipe.text).toBe("a1\n... 1000 log lines were dropped: their reader was too slow\nb\n");
  });

  test("a reader that is gone ends nothing", () => {
    const write = createLineWriterOf(() => {
      throw Object.assign(new Error("broken pipe"), { code: "EPIPE" });
    });
    expect(() => {
      write("a\n");
      write("b\n");
    }).not.toThrow();
  });
});

test("createLineWriter() has written when it returns", () => {
  const folder = mkdtempSync(join(tmpdir(), "coxswain-log-"));
  const descriptor = openSync(join(folder, "log"), "w");
  try {
    createLineWriter(descriptor)("ünïcode\n");
    expect(readFileSync(join(folder, "log"), "utf8")).toBe("ünïcode\n");
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
});
