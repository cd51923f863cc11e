/** Cloudflare Workers: the bundler hands over a compiled module; compiling bytes at run time is refused there. */
import wasm from '../wasm/session.wasm';
import { provide } from '../engine.js';
import { NativeKey } from '../native.js';
import { provideNative } from '../provider.js';

provide(() => wasm);
provideNative(NativeKey); // There with the compatibility flag `nodejs_compat`.
export * from '../index.js';
