/** Certificates made on the spot: an authority, and what it signs. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface KeyPair {
  /** PEM texts. */
  readonly cert: string;
  readonly key: string;
}

export class Authority implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "coxswain-ca-"));
  #issued = 0;
  /** PEM text. */
  readonly ca: string;

  constructor(name: string) {
    this.#openssl("req", "-x509", ...newKey("ca"), "-days", "2", "-subj", `/CN=${name}`);
    this.ca = this.#read("ca.crt");
  }

  /** @param names what the certificate stands for, such as "IP:127.0.0.1". */
  issue(name: string, { names, days = 2 }: { names: string; days?: number }): KeyPair {
    const file = `c${this.#issued++}`;
    writeFileSync(join(this.#folder, `${file}.ext`), `subjectAltName=${names}\n`);
    this.#openssl("req", "-new", ...newKey(file), "-subj", `/CN=${name}`);
    const request = ["-req", "-in", `${file}.crt`, "-extfile", `${file}.ext`];
    const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", `${days}`];
    this.#openssl("x509", ...request, ...signed, "-out", `${file}.pem`);
    return { cert: this.#read(`${file}.pem`), key: this.#read(`${file}.key`) };
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #read(file: string): string {
    return readFileSync(join(this.#folder, file), "utf8");
  }

  #openssl(...args: readonly string[]): void {
    const { status, stderr } = spawnSync("openssl", args, { cwd: this.#folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`openssl ${args.join(" ")} failed: ${stderr}`);
  }
}

function newKey(file: string): readonly string[] {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  return [...curve, "-keyout", `${file}.key`, "-out", `${file}.crt`];
}
