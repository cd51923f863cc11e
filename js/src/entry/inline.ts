/** Node, Deno, Bun, browsers and bundlers: the module's bytes are in the code, so there is no file to find and nothing to fetch. */
import { base64 } from '../wasm/inline.js';
import { provide } from '../engine.js';

provide(() => new WebAssembly.Module(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))));
export * from '../index.js';
