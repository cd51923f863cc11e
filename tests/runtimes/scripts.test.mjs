/** Runtimes that run a file: Node (ESM and CommonJS), Deno, Bun. */
import { test } from 'node:test';
import { bin, run, verify } from './lib.mjs';

for (const [name, command, ...args] of [
  ['Node, ESM', process.execPath, 'apps/print.mjs'],
  ['Node, CommonJS', process.execPath, 'apps/print.cjs'],
  ['Deno', bin('deno'), 'run', '--allow-read', '--allow-env', '--node-modules-dir=manual', 'apps/print.mjs'],
  ['Bun, ESM', bin('bun'), 'apps/print.mjs'],
  ['Bun, CommonJS', bin('bun'), 'apps/print.cjs'],
]) {
  test(name, async () => verify(JSON.parse(await run(command, args))));
}
