/** TLS of what nodes listen on: our certificate, and the authorities that a command trusts. */
import { type KeyPair, keyPairProblem } from "../platform/certificate.ts";
import type { Draft } from "./draft.ts";
import { flagOf } from "./setting.ts";
import type { SettingKey } from "./settings.ts";

/** What the HTTP port is served with; undefined: without TLS. */
export function serverTls(draft: Draft): KeyPair | undefined {
  return keyPair(draft, "tlsCert", "tlsKey");
}

/** A certificate and its key, from the files that two settings name; undefined: none is named. */
export function keyPair(
  draft: Draft,
  certKey: "tlsCert" | "deviceTlsCert",
  keyKey: "tlsKey" | "deviceTlsKey",
): KeyPair | undefined {
  const { values, given } = draft;
  if (!given.has(certKey) && !given.has(keyKey)) return undefined;
  const [certFlag, keyFlag] = [flagOf(certKey), flagOf(keyKey)];
  if (given.has(certKey) !== given.has(keyKey)) {
    draft.refuse([certKey, keyKey], `${certFlag} and ${keyFlag} need each other`);
    return undefined;
  }
  const cert = readPem(draft, certKey, values[certKey]);
  const key = readPem(draft, keyKey, values[keyKey]);
  if (cert === undefined || key === undefined) return undefined;
  const problem = keyPairProblem({ cert, key });
  if (problem !== undefined) {
    const files = `${certFlag} ${values[certKey]} and ${keyFlag} ${values[keyKey]}`;
    draft.refuse([certKey, keyKey], `${files}: ${problem}`);
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
