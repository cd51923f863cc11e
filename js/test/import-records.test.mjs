import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSessions, generateSecret } from 'session-edge';
import { crystalRecords, importing } from 'session-edge/import';

const { cases, reads } = JSON.parse(readFileSync(join(import.meta.dirname, '../../tests/vectors/crystal/redis_values.json'), 'utf8'));
const START = 1_800_000_000_000;
const UNTIL = new Date(START + 3_600_000);
const ID = '0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11';
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const sealedOf = ({ encrypt_redis_data, secret, use_kdf, kdf_iterations: iterations, kdf_salt: salt }) =>
  encrypt_redis_data ? { secret, allowSha1Until: UNTIL, ...(use_kdf ? { kdf: { iterations, salt } } : {}) } : undefined;

/** A site whose old Redis is a map. */
function site(values, sealed, options = {}) {
  const redis = new Map(values);
  const asked = [];
  const refused = [];
  const records = { get: async (name) => (asked.push(name), redis.get(name) ?? null), delete: async (name) => redis.delete(name) };
  const sessions = createSessions({ secret: generateSecret(), now: () => START });
  const moving = importing(sessions, { from: crystalRecords({ records, sealed, ...options }), until: UNTIL, now: () => START, subject: (data) => data.username, onRefused: (reason) => refused.push(reason) });
  return { moving, redis, asked, refused, load: (id = ID) => moving.load(`_session=${id}; theme=dark`) };
}

test('every recorded value of its Redis becomes a session, once', async () => {
  assert.equal(cases.length, 18);
  for (const value of cases) {
    const [name] = value.keys_in_db;
    const { load, redis, moving } = site([[name, bytes(value.value_hex)], ['cache', 'x']], sealedOf(value));
    const session = await load();
    const { session_id, created_at, expires_at, ...fields } = JSON.parse(value.session_json);
    assert.deepEqual(session.data, fields, value.id);
    assert.equal(session.subject, fields.username ?? null, value.id);
    assert.equal(redis.size, 2, 'not before the client has a cookie');
    if (value.id.endsWith('-big')) {
      await assert.rejects(moving.setCookies(session), { code: 'cookie-too-large' });
      assert.equal(redis.size, 2, 'what no cookie can hold is not lost');
      continue;
    }
    const [line, removal] = await moving.setCookies(session);
    assert.deepEqual([...redis.keys()], ['cache'], 'deleted there, and nothing else');
    assert.match(line, /^__Host-session=/);
    assert.equal(removal, '_session=; Path=/; Max-Age=0; Secure');
    assert.deepEqual((await load()).data, {}, 'a copy of the cookie is worth nothing');
  }
});

test('a handler deletes it too; that it cannot be deleted is no reason not to answer', async () => {
  const value = cases.find(({ id }) => id === 'production_like-alice');
  for (const fails of [false, true]) {
    const { moving, redis } = site([[`session:${ID}`, bytes(value.value_hex)]], sealedOf(value));
    if (fails) redis.delete = () => Promise.reject(new Error('down'));
    const request = new Request('https://a.example', { headers: { cookie: `_session=${ID}` } });
    const response = await moving.handler((_, session) => new Response(session.subject))(request);
    assert.equal(await response.text(), 'alice');
    assert.equal(response.headers.getSetCookie().length, 2);
    assert.equal(redis.size, fails ? 1 : 0);
  }
});

test('where it expires some seconds later, requests that come without the new cookie are answered as the first', async () => {
  const value = cases.find(({ id }) => id === 'production_like-alice');
  const key = `session:${ID}`;
  const { moving, redis, load } = site([[key, bytes(value.value_hex)]], sealedOf(value));
  const expiring = [];
  redis.delete = (name) => expiring.push(name);
  const first = await load();
  const late = await load();
  await moving.setCookies(first);
  assert.deepEqual(expiring, [key]);
  for (const session of [late, await load()]) assert.equal(session.subject, 'alice');
  redis.clear();
  assert.equal((await load()).subject, null);
});

test('text will do where nothing was compressed', async () => {
  const plain = cases.find(({ id }) => id === 'plain-300b');
  assert.equal((await site([[`session:${ID}`, plain.value_utf8]]).load()).subject, JSON.parse(plain.session_json).username);
});

test('what is not taken over', async () => {
  const value = cases.find(({ id }) => id === 'production_like-alice');
  const [sealed, key] = [sealedOf(value), `session:${ID}`];
  const other = 'd5c01a9e-7b0f-4a3e-8a5e-53f1c0a1f0aa';
  const expired = reads.find(({ id }) => id === 'expired_session').value_hex;
  for (const [values, options, reason, id] of [
    [[[key, bytes(value.value_hex)]], undefined, 'data'],
    [[[key, bytes(value.value_hex)]], { ...sealed, secret: 'another secret of the Crystal site' }, 'forged'],
    [[[`session:${other}`, bytes(value.value_hex)]], sealed, 'forged', other],
    [[[key, bytes(cases[0].value_hex)]], sealed, 'malformed'],
    [[[key, bytes(expired)]], undefined, 'expired'],
    [[[key, bytes('1f8b')]], undefined, 'inflate'],
    [[[key, '']], undefined, 'data'],
  ]) {
    const { load, redis, refused, moving } = site(values, options);
    const session = await load(id);
    assert.deepEqual([session.isNew, session.subject, await moving.setCookies(session), refused], [true, null, [], [reason]]);
    assert.equal(redis.size, 1, 'it is left alone');
  }
});

test('ids that the library did not make are not asked for; a server that is down is an error', async () => {
  const { load, asked } = site([]);
  for (const id of ['', '*', 'x', ID.toUpperCase(), `${ID}0`, `{${ID}}`]) assert.equal((await load(id)).subject, null);
  assert.deepEqual(asked, []);
  assert.equal((await load()).subject, null);
  assert.deepEqual(asked, [`session:${ID}`]);
  const records = { get: () => Promise.reject(new Error('down')) };
  const sessions = createSessions({ secret: generateSecret() });
  const moving = importing(sessions, { from: crystalRecords({ records }), until: new Date(Date.now() + 1000) });
  await assert.rejects(moving.load(`_session=${ID}`), /down/);
});
