/** Looks at a server's certificate and key before they are used, so that a mistake is told in words. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

/** PEM texts. */
export interface KeyPair {
  /** Our own certificate first, then those between it and the authority. */
  readonly cert: string;
  readonly key: string;
}

/** Why these cannot serve TLS together; undefined where they can. */
export function keyPairProblem({ cert, key }: KeyPair): string | undefined {
  let certificate: X509Certificate;
  let privateKey: KeyObject;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    return "the first one holds no certificate";
  }
  try {
    privateKey = createPrivateKey(key);
  } catch {
    return /ENCRYPTED/.test(key)
      ? "the key is encrypted: take one without a passphrase, readable by this user alone"
      : "the second one holds no key";
  }
  return certificate.checkPrivateKey(privateKey)
    ? undefined
    : "the key is not the one of the certificate (the first one in its file)";
}

/** What clients will not like about a certificate that can be served; undefined where nothing. */
export function validityProblem(cert: string, now: number): string | undefined {
  const { validFrom, validTo } = new X509Certificate(cert);
  if (now < Date.parse(validFrom)) return `is not valid before ${validFrom}`;
  return now > Date.parse(validTo) ? `has expired on ${validTo}` : undefined;
}
