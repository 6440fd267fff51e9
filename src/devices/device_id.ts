/**
 * What a device may be called, and the word that stands for it in a routing key. Where nobody asks a
 * device who it is, it is called by its address: `127.0.0.1:50312`, `[::1]:50312`.
 */

/** Three times as many, as a word, and the rest of a routing key still fit into its 255 bytes. */
const MAX_ID_LENGTH = 80;

/** Visible ASCII: an id is one word of a line, and part of a path and of a routing key. */
const ID = new RegExp(`^[\\x21-\\x7e]{1,${MAX_ID_LENGTH}}$`);

export function isDeviceId(text: string): boolean {
  return ID.test(text);
}

/** Why no device can be called so, or undefined. */
export function problemOfDeviceId(text: string): string | undefined {
  return isDeviceId(text)
    ? undefined
    : `must be 1 to ${MAX_ID_LENGTH} visible ASCII characters without spaces`;
}

/**
 * One word of a topic, which has no dots and no wildcards: percent-encoded (RFC 3986, section 2.1),
 * with `.` as `%2E` and `*` as `%2A` besides. `decodeURIComponent` reads it.
 */
export function deviceWord(id: string): string {
  return encodeURIComponent(id).replaceAll(".", "%2E").replaceAll("*", "%2A");
}

/** The id that a word stands for; undefined where it stands for none. */
export function deviceOfWord(word: string): string | undefined {
  let id: string;
  try {
    id = decodeURIComponent(word);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
  return isDeviceId(id) ? id : undefined;
}

/** The channel on which the lines of a device are told: `device.<word>.line`. */
export function lineChannel(id: string): string {
  return `device.${deviceWord(id)}.line`;
}
