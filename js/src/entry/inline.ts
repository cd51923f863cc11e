/** Node, Deno, Bun, browsers and bundlers: the module's bytes are in the code, so there is no file to find and nothing to fetch. */
import { base64 } from '../wasm/inline.js';
import { provide } from '../engine.js';
import { NativeKey } from '../native.js';
import { provideNative } from '../provider.js';

interface HasBuffer {
  Buffer?: { from(text: string, encoding: 'base64'): Uint8Array<ArrayBuffer> };
}

provide(() => new WebAssembly.Module((globalThis as HasBuffer).Buffer?.from(base64, 'base64') ?? decode(base64)));
provideNative(NativeKey);
export * from '../index.js';

/** For browsers. (`Uint8Array.from` with a function takes ten times as long: a large part of a cold start.) */
function decode(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
