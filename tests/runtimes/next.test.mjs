/** Next.js: built and started, with middleware, pages, route handlers on Node and on the edge runtime. */
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, freePort, here, run, scratch, secret, serve, verify } from './lib.mjs';

const env = { ...process.env, SESSION_SECRET: secret, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' };

test('Next.js', async (t) => {
  const cwd = scratch('next');
  for (const file of ['data.mjs', 'scenario.mjs', 'import-scenario.mjs']) cpSync(join(here, file), join(cwd, file));
  await run(bin('next'), ['build'], { cwd, env });
  const port = await freePort();
  const { origin, output } = await serve(t, bin('next'), ['start', '--port', String(port), '--hostname', '127.0.0.1'], port, { cwd, env });

  await t.test('the whole scenario, in a route handler', async () => verify(await (await fetch(`${origin}/report`)).json()));

  let cookie;
  await t.test('middleware writes, the page of the same request reads', async () => {
    const first = await fetch(origin);
    assert.match(await first.text(), /visits:(<!-- -->)?1/, output());
    const line = first.headers.getSetCookie().find((line) => line.startsWith('__Host-session='));
    assert.match(line, /; Secure/);
    assert.equal(first.headers.get('cache-control').includes('no-store'), true);
    cookie = line.split(';')[0];
    assert.match(await (await fetch(origin, { headers: { cookie } })).text(), /visits:(<!-- -->)?2/);
  });

  await t.test('a route handler on the edge runtime', async () => {
    const answer = await (await fetch(`${origin}/edge`, { headers: { cookie } })).json();
    assert.deepEqual(answer, { visits: 2, edge: 'string' });
  });

  await t.test('the cookie store of server actions', async () => {
    const response = await fetch(`${origin}/action`, { method: 'POST', headers: { cookie } });
    assert.deepEqual(await response.json(), { visits: 2 });
    const lines = response.headers.getSetCookie();
    const last = lines.at(-1).split(';')[0];
    assert.notEqual(last, cookie);
    assert.equal((await fetch(origin, { headers: { cookie: last } })).status, 200);
  });

  await t.test('a forged cookie is turned away', async () => {
    const at = cookie.length - 5;
    const forged = cookie.slice(0, at) + (cookie[at] === 'A' ? 'B' : 'A') + cookie.slice(at + 1);
    assert.equal((await fetch(origin, { headers: { cookie: forged } })).status, 401);
  });
});
