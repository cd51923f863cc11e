/** Cloudflare's workerd, by two ways into it, and Vercel's edge runtime. */
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { build } from 'esbuild';
import { EdgeRuntime } from 'edge-runtime';
import { Miniflare } from 'miniflare';
import { bin, here, run, verify } from './lib.mjs';

const compatibilityDate = '2026-01-01';

/** Without and with `node:crypto`, by which the package then opens and seals what is large. */
async function inWorkerd(t, modules, modulesRoot) {
  for (const compatibilityFlags of [[], ['nodejs_compat']]) {
    const miniflare = new Miniflare({ modules, modulesRoot, compatibilityDate, compatibilityFlags });
    t.after(() => miniflare.dispose());
    verify(await (await miniflare.dispatchFetch('http://worker/report')).json());
  }
}

test('workerd, bundled by esbuild', async (t) => {
  const out = join(here, 'node_modules/.cache/workerd');
  rmSync(out, { recursive: true, force: true });
  await build({
    entryPoints: [join(here, 'apps/fetch.mjs')],
    outfile: join(out, 'worker.mjs'),
    bundle: true,
    format: 'esm',
    conditions: ['workerd', 'worker', 'browser'],
    loader: { '.wasm': 'copy' },
    logLevel: 'warning',
  });
  await inWorkerd(t, modulesIn(out, 'worker.mjs'), out);
});

test('workerd, bundled by wrangler', async (t) => {
  const out = join(here, 'node_modules/.cache/wrangler');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  await run(bin('wrangler'), ['deploy', 'apps/fetch.mjs', '--dry-run', '--name', 'session', '--compatibility-date', compatibilityDate, '--outdir', out], {
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1', WRANGLER_LOG_PATH: join(out, 'log'), XDG_CONFIG_HOME: join(out, 'config') },
  });
  await inWorkerd(t, modulesIn(out, 'fetch.js'), out);
});

function modulesIn(directory, main) {
  const type = (file) => (file.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule');
  const others = readdirSync(directory).filter((file) => /\.(m?js|wasm)$/.test(file) && file !== main);
  return [main, ...others].map((file) => ({ type: type(file), path: join(directory, file) }));
}

test('edge-runtime', async () => {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'apps/fetch.mjs')],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'app',
    conditions: ['edge-light'],
    external: ['*?module'],
    // As the platform does: a compiled module under the name that the import asks for.
    plugins: [
      {
        name: 'wasm?module',
        setup(esbuild) {
          esbuild.onResolve({ filter: /\.wasm\?module$/ }, () => ({ path: 'session', namespace: 'wasm' }));
          esbuild.onLoad({ filter: /.*/, namespace: 'wasm' }, () => ({ contents: 'export default globalThis.sessionWasm' }));
        },
      },
    ],
    logLevel: 'warning',
  });
  const wasm = await WebAssembly.compile(readFileSync(join(here, 'node_modules/session-edge/dist/session.wasm')));
  const runtime = new EdgeRuntime({ extend: (context) => Object.assign(context, { sessionWasm: wasm }) });
  runtime.evaluate(`${outputFiles[0].text}\naddEventListener('fetch', (event) => event.respondWith(app.default.fetch(event.request)));`);
  verify(await (await runtime.dispatchFetch('http://edge/report')).json());
});
