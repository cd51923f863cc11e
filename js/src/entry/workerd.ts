/** Cloudflare Workers: the bundler hands over a compiled module; compiling bytes at run time is refused there. */
import wasm from '../wasm/session.wasm';
import { provide } from '../engine.js';

provide(() => wasm);
export * from '../index.js';
