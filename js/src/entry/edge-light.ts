/** Vercel Edge and Next.js' edge runtime: `?module` is how their bundlers are asked for a compiled module. */
import wasm from '../wasm/session.wasm?module';
import { provide } from '../engine.js';

provide(() => wasm);
export * from '../index.js';
