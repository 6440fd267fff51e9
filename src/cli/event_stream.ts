/** Reads an event stream (HTML Living Standard, section 9.2.6), as far as fronts write one. */

export interface StreamEvent {
  /** The last id that was told, for `Last-Event-ID`. */
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** Ends with the stream; comments are passed over. */
export async function* readEventStream(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<StreamEvent> {
  const decoder = new TextDecoder();
  let text = "";
  let id = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = fieldsOf(block);
      id = fields.get("id")?.at(-1) ?? id;
      const data = fields.get("data");
      if (data === undefined) continue;
      yield { id, event: fields.get("event")?.at(-1) ?? "message", data: data.join("\n") };
    }
  }
}

function fieldsOf(block: string): ReadonlyMap<string, readonly string[]> {
  const fields = new Map<string, string[]>();
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === undefined) continue;
    fields.set(name, [...fields.get(name) ?? [], value ?? ""]);
  }
  return fields;
}
