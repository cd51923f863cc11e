// The helpers themselves: a browser test that can't start must fail, and none may leave anything behind.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { launchChromium, startServer } from './browser.mjs';

const startNode = (script) => startServer(process.execPath, ['--eval', script]);

const SERVER = `
  const server = require('node:http').createServer((request, response) => {
    response.setHeader('set-cookie', 'seen=yes; HttpOnly');
    response.setHeader('content-type', 'text/html');
    response.end('<h1>' + (request.headers.cookie ?? 'no cookie') + '</h1>');
  });
  server.listen(0, '127.0.0.1', () => {
    console.log('getting ready');
    console.log('listening on http://127.0.0.1:' + server.address().port);
    console.log('x'.repeat(1 << 20)); // More than a pipe holds.
  });`;

test('Chromium visits a server on a free port; nothing stays behind', async (t) => {
  const temporary = await mkdtemp(join(tmpdir(), 'session-browser-'));
  t.after(() => rm(temporary, { recursive: true }));
  const usual = process.env.TMPDIR;
  process.env.TMPDIR = temporary;
  t.after(() => (usual === undefined ? delete process.env.TMPDIR : (process.env.TMPDIR = usual)));

  const server = await startNode(SERVER);
  t.after(server.stop);
  const browser = await launchChromium();
  t.after(() => browser.close());

  const heading = async (page) => {
    await page.goto(server.url);
    return page.textContent('h1');
  };
  const visitor = await (await browser.newContext()).newPage();
  assert.equal(await heading(visitor), 'no cookie');
  assert.equal(await heading(visitor), 'seen=yes');
  const other = await (await browser.newContext()).newPage();
  assert.equal(await heading(other), 'no cookie');

  await browser.close();
  assert.deepEqual(await readdir(temporary), []);
  await server.stop();
  await assert.rejects(fetch(server.url));
});

test('a program that ends too early is an error', async () => {
  await assert.rejects(startNode('process.exit(3)'), /exit status 3/);
  await assert.rejects(startServer('/no/such/program', []), { code: 'ENOENT' });
});
