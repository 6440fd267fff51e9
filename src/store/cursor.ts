/** Cursors of lists: the place of the last job of a page, as text that stands in URLs. */
import { BadCursorError } from "./store.ts";

export interface Place {
  readonly createdAt: number;
  readonly id: string;
}

export function encodeCursor({ createdAt, id }: Place): string {
  return Buffer.from(`${createdAt}/${id}`).toString("base64url");
}

/** @throws BadCursorError */
export function decodeCursor(cursor: string): Place {
  const match = /^(-?\d{1,16})\/([^\0]{1,255})$/s.exec(
    Buffer.from(cursor, "base64url").toString("utf8"),
  );
  const [, createdAt, id] = match ?? [];
  if (createdAt === undefined || id === undefined) {
    throw new BadCursorError(`Cannot read the cursor "${cursor.slice(0, 80)}": no list gave it`);
  }
  return { createdAt: Number(createdAt), id };
}
