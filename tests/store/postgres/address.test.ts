import { describe, expect, test } from "bun:test";
import { StoreRefusedError } from "../../../src/store/errors.ts";
import { readAddress } from "../../../src/store/postgres/address.ts";

const url = (query = "") => `postgres://me:p%40ss@db.example:5433/jobs${query}`;

describe("readAddress", () => {
  test("keeps the password out of what people see, and TLS out of the server's settings", () => {
    expect(readAddress(url("?sslmode=require&application_name=x"))).toEqual({
      url: "postgres://me:p%40ss@db.example:5433/jobs?application_name=x",
      tls: { rejectUnauthorized: false },
      place: "postgres://me@db.example:5433/jobs",
    });
  });

  test("uses TLS where the server has it unless it is told otherwise", () => {
    expect(readAddress(url()).tls).toBe("prefer");
    expect(readAddress(url("?sslmode=disable")).tls).toBe(false);
    expect(readAddress(url("?sslmode=allow")).tls).toBe("prefer");
    expect(readAddress(url("?sslmode=verify-full")).tls).toEqual({ rejectUnauthorized: true });
    expect(readAddress(url("?sslmode=verify-full&sslrootcert=system")).tls)
      .toEqual({ rejectUnauthorized: true });
    expect(readAddress(url("?sslmode=verify-ca")).tls)
      .toMatchObject({ rejectUnauthorized: true, checkServerIdentity: expect.any(Function) });
  });

  test("refuses what it cannot read, without telling the password", () => {
    for (
      const [text, reason] of [
        ["p%40ss", "no URL"],
        ["mysql://me:p%40ss@db/jobs", 'scheme is "mysql"'],
        ["postgres:///p%40ss", "names no host"],
        ["postgres://me:p%zzss@db/jobs", "escape"],
        [url("?sslmode=maybe"), 'sslmode is "maybe"'],
        [url("?sslmode=verify-full&sslrootcert=/none/ca.crt"), "/none/ca.crt"],
      ] as const
    ) {
      try {
        readAddress(text);
        throw new Error(`"${text}" was taken`);
      } catch (error) {
        expect(error).toBeInstanceOf(StoreRefusedError);
        expect(String(error)).toContain(reason);
        expect(String(error)).not.toMatch(/p%40ss|p@ss|p%zzss/);
      }
    }
  });
});
