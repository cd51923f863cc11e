/** For runtimes that none of the other entries knows: bring the module of `session-edge/session.wasm` yourself. */
import { provide } from '../engine.js';

/**
 * Says what the module is, before the first session is loaded.
 *
 * @example
 * import { createSessions, init } from 'session-edge/slim';
 * init(await WebAssembly.compileStreaming(fetch('/session.wasm')));
 */
export function init(module: WebAssembly.Module): void {
  provide(() => module);
}
export * from '../index.js';
