/** Fresh seals, both ways: iron-session 8 and 9 against `session_core::interop::iron`. Needs `cargo`, or IRON_EXAMPLE, the built example. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import * as nine from 'iron-session';
import * as eight from 'iron-session-8';

const root = join(import.meta.dirname, '../..');
const passwords = { 1: 'first-password-that-has-at-least-32-characters', 2: 'второй пароль из тридцати двух знаков' };

/** What Rust answers to orders, one for each. */
function rust(orders) {
  const input = orders.map((order) => `${JSON.stringify({ passwords, now: Date.now(), ...order })}\n`).join('');
  const [command, ...args] = process.env.IRON_EXAMPLE?.split(' ') ?? ['cargo', 'run', '--quiet', '--package', 'session-core', '--features', 'std,getrandom,iron', '--example', 'iron'];
  const lines = execFileSync(command, args, { cwd: root, input, maxBuffer: 1 << 26 }).toString().split('\n').slice(0, -1);
  assert.equal(lines.length, orders.length);
  return lines;
}

const datas = Array.from({ length: 100 }, (_, i) => ({ userId: i, text: 'ä🎉"\\ '.repeat(i), nested: { list: [i, null, true, i / 3] } }));

test('what iron-session seals, Rust opens', async () => {
  for (const { sealData } of [eight, nine]) {
    const seals = await Promise.all(datas.map((data) => sealData(data, { password: passwords })));
    const opened = rust(seals.map((seal) => ({ seal })));
    assert.deepEqual(opened.map((json) => JSON.parse(json)), datas);
    const [forged] = rust([{ seal: seals[0].replace('*2*', '*1*') }]);
    assert.equal(forged, 'refused: forged');
  }
});

test('what Rust seals, iron-session opens', async () => {
  for (const ttl of [0, 60, 1_209_600]) {
    const seals = rust(datas.map((data) => ({ json: JSON.stringify(data), ttl })));
    for (const { unsealData } of [eight, nine]) {
      assert.deepEqual(await Promise.all(seals.map((seal) => unsealData(seal, { password: passwords, ttl }))), datas);
    }
  }
});

test('both let a seal go a minute past its end', async (t) => {
  const now = Date.now();
  t.mock.method(Date, 'now', () => now); // Who waits for cargo is more than a second late.
  const [seal] = rust([{ json: '{"a":1}', ttl: 60, now: Date.now() - 119_999 }]);
  const [late] = rust([{ json: '{"a":1}', ttl: 60, now: Date.now() - 120_000 }]);
  assert.deepEqual(await nine.unsealData(seal, { password: passwords, ttl: 60 }), { a: 1 });
  assert.deepEqual(await nine.unsealData(late, { password: passwords, ttl: 60 }), {});
  assert.deepEqual(rust([{ seal }, { seal: late }]), ['{"a":1}', 'refused: expired']);
});
