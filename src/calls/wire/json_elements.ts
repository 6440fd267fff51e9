/**
 * Takes the elements of a JSON array apart without reading them: their texts stay as they were written
 * (1.0 stays 1.0, and no integer is too large), and however deeply they are nested, no stack ends.
 */

/** @param text JSON text of an array, known to be valid. @returns the text of each element. */
export function elementTexts(text: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case BRACKET:
      case BRACE:
        if (depth++ === 0) from = at + 1;
        break;
      case COMMA:
        if (depth !== 1) break;
        elements.push(text.slice(from, at).trim());
        from = at + 1;
        break;
      case CLOSING_BRACKET:
      case CLOSING_BRACE: {
        if (--depth > 0) break;
        const last = text.slice(from, at).trim();
        if (last !== "" || elements.length > 0) elements.push(last);
        return elements;
      }
    }
  }
  return elements;
}

/** Whether a JSON text opens more brackets at once than that. */
export function isNestedDeeper(text: string, most: number): boolean {
  // Each level takes two characters.
  if (text.length <= most * 2) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case BRACKET:
      case BRACE:
        if (++depth > most) return true;
        break;
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        depth--;
        break;
    }
  }
  return false;
}

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [BRACKET, CLOSING_BRACKET, BRACE, CLOSING_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Where the closing quote is. A quote is escaped where an odd number of backslashes precede it. */
function endOfString(text: string, start: number): number {
  let end = start;
  while (true) {
    end = text.indexOf('"', end + 1);
    if (end === -1) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}
