/** Chromium: a page and a service worker, bundled by Vite. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { build, preview } from 'vite';
import { here, scratch, verify } from './lib.mjs';

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

test('Chromium', async (t) => {
  const root = scratch('vite');
  for (const file of ['data.mjs', 'scenario.mjs', 'import-scenario.mjs']) cpSync(join(here, file), join(root, file));
  const rollupOptions = { input: { page: join(root, 'index.html'), worker: join(root, 'worker.js') }, output: { entryFileNames: '[name].js' } };
  await build({ root, configFile: false, logLevel: 'warn', build: { rollupOptions, target: 'es2022' } });
  const server = await preview({ root, configFile: false, logLevel: 'warn', preview: { host: '127.0.0.1', port: 0, strictPort: true } });
  t.after(() => server.close());
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.httpServer.address().port}/`);
  await page.waitForFunction('globalThis.ready');

  await t.test('a page', async () => verify(await page.evaluate('inPage()')));
  await t.test('a service worker', async () => verify(await page.evaluate('inServiceWorker()')));
});
