/** What subscribers of channels are sent: JSON for polls and WebSockets, frames for event streams. */
import type { ChannelEvent, ChannelMessage } from "../pubsub/channel_event.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Made once for each event, however many subscribers it has. */
const texts = new WeakMap<ChannelEvent, string>();
const frames = new WeakMap<ChannelEvent, Uint8Array>();

/**
 * One event as JSON text: `{id, channel, message, at}`, where `message` is the value that was
 * published, a text, or `{base64}` of other bytes; or `{gap: reason, missed?, at}`.
 */
export function eventJson(event: ChannelEvent): string {
  const known = texts.get(event);
  if (known !== undefined) return known;
  const text = JSON.stringify(plain(event));
  texts.set(event, text);
  return text;
}

/**
 * One event as a frame of an event stream (HTML Living Standard, section 9.2): messages are events of
 * the default type with their id, gaps are events "gap".
 */
export function eventFrame(event: ChannelEvent): Uint8Array {
  const known = frames.get(event);
  if (known !== undefined) return known;
  const data = `data: ${eventJson(event)}\n\n`;
  const frame = encoder.encode(
    event.kind === "gap" ? `event: gap\n${data}` : `id: ${oneLine(event.id)}\n${data}`,
  );
  frames.set(event, frame);
  return frame;
}

/** Frames of several events, made once for all subscribers of a pattern that get the same. */
export class FrameGroups {
  readonly #groups = new Map<string, Uint8Array>();

  get(pattern: string, events: readonly ChannelEvent[]): Uint8Array {
    const [first] = events;
    if (first === undefined) return new Uint8Array();
    if (events.length === 1) return eventFrame(first);
    const key = `${first.seq} ${events.at(-1)?.seq} ${events.length} ${pattern}`;
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const parts = events.map(eventFrame);
    const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    if (this.#groups.size >= MAX_GROUPS) this.#groups.clear();
    this.#groups.set(key, whole);
    return whole;
  }
}

const MAX_GROUPS = 64;

function plain(event: ChannelEvent): object {
  const at = new Date(event.at).toISOString();
  switch (event.kind) {
    case "message":
      return { id: event.id, channel: event.channel, message: valueOf(event), at };
    case "gap":
      return {
        gap: event.reason,
        ...(event.missed === undefined ? {} : { missed: event.missed }),
        at,
      };
  }
}

function valueOf({ contentType, body }: ChannelMessage): unknown {
  let text: string;
  try {
    text = decoder.decode(body);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { base64: Buffer.from(body).toString("base64") };
  }
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType)) return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // Somebody else's publisher called it JSON.
    return text;
  }
}

/** Ids of strangers may have anything in them. */
function oneLine(id: string): string {
  return id.replace(/[\r\n\0]/g, " ");
}
