/** Bytes and text, as other libraries write them. */

export const utf8 = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export type Bytes = Uint8Array<ArrayBuffer>;

/** Most bytes that are inflated, as in Rust. */
const MAX_INFLATED = 1 << 20;

/** Either alphabet, with padding or without; `null` for anything else. */
export function fromBase64(text: string): Bytes | null {
  // `atob` passes over white space.
  if (!/^[\w-]*={0,2}$/.test(text) && !/^[A-Za-z\d+/]*={0,2}$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/').replaceAll('=', '')), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

/** base64url without padding, in its one spelling; `null` for anything else. */
export function fromStrictBase64url(text: string): Bytes | null {
  const bytes = fromBase64(text);
  return bytes !== null && toBase64url(bytes) === text ? bytes : null;
}

/** base64url without padding. */
export function toBase64url(bytes: Bytes): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** `null` for what is not UTF-8. */
export function toText(bytes: Bytes): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** `undefined` for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Whether a value is an object with fields. */
export const isFields = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

export const isGzip = (bytes: Bytes): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** `null` for what isn't gzip, or inflates to more than is looked at. */
export async function gunzip(bytes: Bytes): Promise<Bytes | null> {
  if (typeof DecompressionStream === 'undefined') return null;
  const chunks: Bytes[] = [];
  let length = 0;
  try {
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')).getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      length += chunk.value.length;
      if (length > MAX_INFLATED) {
        await reader.cancel();
        return null;
      }
      chunks.push(chunk.value);
    }
  } catch {
    return null;
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
