/** js/examples/worker in workerd, in front of the Rust login demo with both of its stores. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createServer, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { build } from 'esbuild';
import { Miniflare } from 'miniflare';
import { createSessions } from 'session-edge';
import { here, root, secret } from './lib.mjs';

const out = join(here, '.apps/guard/worker.js');

test.before(async () => {
  execFileSync('cargo', ['build', '--quiet', '--locked', '--release', '--package', 'session-native', '--example', 'login'], { cwd: root, stdio: 'inherit' });
  await build({
    entryPoints: [join(root, 'js/examples/worker/worker.js')],
    outfile: out,
    bundle: true,
    format: 'esm',
    conditions: ['workerd', 'worker', 'browser'],
    loader: { '.wasm': 'copy' },
    assetNames: 'session',
    nodePaths: [join(here, 'node_modules')],
    logLevel: 'warning',
  });
});

for (const store of ['memory', 'cookie']) {
  test(`the login demo, sessions in ${store === 'memory' ? 'a store' : 'the cookie'}`, async (t) => {
    const seen = [];
    const origin = await recorder(t, await demo(t, store), seen);
    const miniflare = new Miniflare({
      modules: [
        { type: 'ESModule', path: out },
        { type: 'CompiledWasm', path: join(here, '.apps/guard/session.wasm') },
      ],
      modulesRoot: join(here, '.apps/guard'),
      compatibilityDate: '2026-01-01',
      bindings: { SESSION_SECRET: secret, SESSION_PRESET: 'development', ORIGIN: origin },
    });
    t.after(() => miniflare.dispose());
    const ask = (path, init) => miniflare.dispatchFetch(`http://worker${path}`, init);
    const forgedHeader = { 'x-session-subject': 'admin' };

    const anonymous = await ask('/api/me', { headers: forgedHeader });
    assert.equal((await anonymous.json()).username, null);
    assert.equal(seen.at(-1), undefined, 'what the client says about itself is stripped');

    const login = await ask('/api/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"username":"ada"}' });
    assert.equal(login.status, 200);
    const cookie = login.headers.getSetCookie().find((line) => line.startsWith('session=')).split(';')[0];
    const me = await ask('/api/me', { headers: { ...forgedHeader, cookie } });
    assert.equal((await me.json()).username, 'ada');
    assert.equal(seen.at(-1), 'ada', 'what the cookie proves is passed on');

    const before = seen.length;
    const expired = createSessions({ secret, preset: 'development', now: () => Date.now() - 3 * 3_600_000 });
    const stale = (await expired.setCookie(expired.create())).split(';')[0];
    const flipped = cookie.slice(0, 60) + (cookie[60] === 'A' ? 'B' : 'A') + cookie.slice(61);
    for (const bad of [flipped, stale, 'session=junk', `${cookie}AA`]) {
      const refused = await ask('/api/me', { headers: { cookie: bad } });
      assert.equal(refused.status, 401, bad);
      assert.match(refused.headers.get('set-cookie'), /^session=; .*Max-Age=0/, 'the next request can sign in');
    }
    assert.equal(seen.length, before, 'the service was not called');

    for (const path of ['//evil.example/x', '/\\evil.example/x', '/@evil.example/x']) {
      const asked = seen.length;
      await ask(path, { headers: { cookie } });
      assert.equal(seen.length, asked + 1, `${path} goes to the service`);
    }
  });
}

/** Starts the demo, and gives its address. */
async function demo(t, store) {
  const child = spawn(join(root, 'target/release/examples/login'), ['--store', store, '--addr', '127.0.0.1:0'], { env: { ...process.env, SESSION_SECRET: secret }, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /^listening on (http:\S+)/.exec(line);
    if (address) return address[1];
  }
  throw new Error('the demo ended');
}

/** A proxy that notes the header of each request, so that the test knows what reaches the service. */
async function recorder(t, target, seen) {
  const server = createServer((req, res) => {
    seen.push(req.headers['x-session-subject']);
    req.pipe(
      httpRequest(target + req.url, { method: req.method, headers: req.headers }, (answer) => {
        res.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(res);
      }),
    );
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${server.address().port}`;
}
