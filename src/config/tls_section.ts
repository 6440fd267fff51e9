/** TLS of the HTTP port: our certificate, and the authorities that a command trusts. */
import { type KeyPair, keyPairProblem } from "../platform/certificate.ts";
import type { Draft } from "./draft.ts";
import type { SettingKey } from "./settings.ts";

/** What the HTTP port is served with; undefined: without TLS. */
export function serverTls(draft: Draft): KeyPair | undefined {
  const { values: { tlsCert, tlsKey }, given } = draft;
  if (!given.has("tlsCert") && !given.has("tlsKey")) return undefined;
  if (given.has("tlsCert") !== given.has("tlsKey")) {
    draft.refuse(["tlsCert", "tlsKey"], "--tls-cert and --tls-key need each other");
    return undefined;
  }
  const cert = readPem(draft, "tlsCert", tlsCert);
  const key = readPem(draft, "tlsKey", tlsKey);
  if (cert === undefined || key === undefined) return undefined;
  const problem = keyPairProblem({ cert, key });
  if (problem !== undefined) {
    draft.refuse(
      ["tlsCert", "tlsKey"],
      `--tls-cert ${tlsCert} and --tls-key ${tlsKey}: ${problem}`,
    );
  }
  return { cert, key };
}

/** The authorities that a front's certificate is judged by. */
export function trustedCa(draft: Draft, url: string): string | undefined {
  const { values: { caFile }, given } = draft;
  if (!given.has("caFile")) return undefined;
  // In a variable or the file it may be there for other fronts.
  if (!url.startsWith("https:")) {
    if (given.get("caFile")?.origin.kind === "flag") {
      draft.refuse(["caFile", "url"], "--ca-file needs a --url of https://");
    }
    return undefined;
  }
  return readPem(draft, "caFile", caFile);
}

/** The content of a PEM file that a setting names; a problem where it is none. */
export function readPem(
  draft: Draft,
  key: SettingKey,
  path: string | undefined,
): string | undefined {
  const content = draft.readFile(key, path);
  if (content === undefined || content.includes("-----BEGIN ")) return content;
  draft.refuseValue(key, path, "expected a file in PEM form (-----BEGIN …)");
  return undefined;
}
