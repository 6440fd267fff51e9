/** Waiting for what only shows from outside. */

/**
 * Looks again and again until it is so; false where it is not within the limit.
 * @param limitMs in milliseconds.
 */
export async function becomes(
  isSo: () => boolean | Promise<boolean>,
  limitMs: number,
  pauseMs = 100,
): Promise<boolean> {
  const giveUpAt = performance.now() + limitMs;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) return false;
    await Bun.sleep(pauseMs);
  }
  return true;
}

/** @throws Error that names what was waited for. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  limitMs = 60_000,
): Promise<void> {
  if (!await becomes(isSo, limitMs)) {
    throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
  }
}

/** The body as JSON, or nothing where there is no answer or it is no JSON. */
export async function readJson(url: string): Promise<unknown> {
  try {
    return await (await fetch(url, { signal: AbortSignal.timeout(10_000) })).json();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
