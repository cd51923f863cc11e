/** SvelteKit: built and served, with the session in a hook, a page that reads and a form action that writes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bin, freePort, run, scratch, secret, serve } from './lib.mjs';

const env = { ...process.env, SESSION_SECRET: secret };

test('SvelteKit', async (t) => {
  const cwd = scratch('sveltekit');
  await run(bin('vite'), ['build'], { cwd, env });
  const port = await freePort();
  const { origin } = await serve(t, bin('vite'), ['preview', '--port', String(port), '--host', '127.0.0.1', '--strictPort'], port, { cwd, env });

  const page = async (cookie) => {
    const response = await fetch(origin, { headers: cookie === undefined ? {} : { cookie } });
    assert.deepEqual([response.headers.getSetCookie(), response.headers.get('vary')], [[], 'Cookie'], 'a read sends nothing');
    return (await response.text()).match(/<p>(.*?)<\/p>/)[1];
  };
  const submit = async (name, cookie) => {
    const headers = { origin, accept: 'application/json', ...(cookie === undefined ? {} : { cookie }) };
    const response = await fetch(origin, { method: 'POST', headers, body: new URLSearchParams({ name }) });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    return response.headers.getSetCookie().find((line) => line.startsWith('__Host-session=')).split(';')[0];
  };

  assert.equal(await page(), 'nobody:0:');
  const first = await submit('ada');
  assert.equal(await page(first), 'ada:1:');
  const second = await submit('ada', first);
  assert.equal(await page(second), 'ada:2:');
  const at = second.length - 5;
  const forged = second.slice(0, at) + (second[at] === 'A' ? 'B' : 'A') + second.slice(at + 1);
  assert.equal(await page(forged), 'nobody:0:forged');
});
