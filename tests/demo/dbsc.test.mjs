// Sessions that are bound to their device, as Chromium does it: `native/examples/dbsc.rs` behind TLS.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';

import { launchChromium, startServer } from './browser.mjs';

/** How long one proof counts, in seconds: the least there is. */
const LIFE = 10;

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** The program: beside the demo's. */
const PROGRAM = process.env.SESSION_LOGIN_DEMO
  ? join(dirname(process.env.SESSION_LOGIN_DEMO), 'dbsc')
  : join(ROOT, 'target/debug/examples/dbsc');

/** Without a TPM the key is kept in memory; and it is used more often here than a TPM should be. */
const KNOWS = [
  '--enable-features=DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting',
];

let server;
let proxy;
let origin;
let trusted;
let browser;

before(async () => {
  const build = ['build', '--locked', '--quiet', '-p', 'session-native', '--all-features', '--example', 'dbsc'];
  execFileSync('cargo', build, { cwd: ROOT, stdio: 'inherit' });
  server = await startServer(PROGRAM, ['127.0.0.1:0', String(LIFE)]);
  const { key, cert } = await certificate();
  proxy = await startTls(key, cert, Number(new URL(server.url).port));
  origin = `https://localhost:${proxy.address().port}`;
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  trusted = `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`;
  browser = await launchChromium([trusted, ...KNOWS]);
});

after(async () => {
  await browser?.close();
  proxy?.close();
  await server?.stop();
});

/** A key and a certificate for localhost, made anew. */
async function certificate() {
  const directory = await mkdtemp(join(tmpdir(), 'session-tls-'));
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name));
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const files = ['-keyout', key, '-out', cert];
    execFileSync('openssl', ['req', '-x509', ...curve, ...names, '-days', '2', ...files], { stdio: 'pipe' });
    return { key: await readFile(key), cert: await readFile(cert) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** TLS before a server. */
async function startTls(key, cert, port) {
  const listener = tls.createServer({ key, cert }, (client) => {
    const inner = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[client, inner], [inner, client]]) from.pipe(to).on('error', () => from.destroy());
    client.on('error', () => inner.destroy());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return listener;
}

/** Signs in, in a context of its own. */
async function signIn(chromium) {
  const context = await chromium.newContext({ baseURL: origin });
  const page = await context.newPage();
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL('/account');
  return { context, page };
}

const device = (page) => page.textContent('#device');

/** The page as it is once the browser, which doesn't say when, has sent its first proof. */
async function whenBound(page) {
  for (let tries = 0; tries < 100; tries += 1) {
    await page.goto('/account');
    const text = await device(page);
    if (text.startsWith('bound')) return text;
    await sleep(100);
  }
  assert.fail('Chromium did not bind the session');
}

test('Chromium binds the session, proves the device by itself, and a copy of the cookies is worth nothing', async () => {
  const { context, page } = await signIn(browser);
  const [, thumbprint] = /^bound to the device ([\w-]{43}), /.exec(await whenBound(page));

  // The bound cookie is gone: the browser asks for a challenge and signs it, before it sends the request.
  await context.clearCookies({ name: 'session-device' });
  await page.goto('/account');
  assert.match(await device(page), new RegExp(`^bound to the device ${thumbprint}, `));
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map(({ name }) => name).sort(), ['session', 'session-device']);

  const thief = await browser.newContext({ baseURL: origin });
  await thief.addCookies(cookies.map((cookie) => ({ ...cookie, expires: cookie.expires + 3600 })));
  const stolen = await thief.newPage();
  await sleep(LIFE * 1000);
  await stolen.goto('/account');
  assert.equal(new URL(stolen.url()).pathname, '/', 'the thief is sent to the sign-in');
  await page.goto('/account');
  assert.match(await device(page), new RegExp(`^bound to the device ${thumbprint}, `));

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('/');
  await page.goto('/account');
  assert.equal(new URL(page.url()).pathname, '/');
});

test('Chromium without the protocol goes on as ever', async () => {
  const ignorant = await launchChromium([trusted]);
  try {
    const { context, page } = await signIn(ignorant);
    await sleep(LIFE * 1000);
    await page.goto('/account');
    assert.equal(await device(page), 'not bound to a device');
    assert.deepEqual((await context.cookies()).map(({ name }) => name), ['session']);
  } finally {
    await ignorant.close();
  }
});
