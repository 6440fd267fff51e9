/** Which host names and addresses mean this machine alone. */

/**
 * Whether only this machine can connect to the host: `localhost` (RFC 6761, also as a last label),
 * 127.0.0.0/8 or ::1, with or without an IPv6 address's brackets. Names are not looked up.
 */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
  return name === "localhost" || name.endsWith(".localhost") || name === "::1" ||
    /^127(?:\.\d{1,3}){3}$/.test(name);
}
