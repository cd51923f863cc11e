import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSessions, generateSecret } from 'session-edge';
import { crystalCookies, importing, ironSession, openCrystal, openIron, sealIron } from 'session-edge/import';

const vectors = (name) => JSON.parse(readFileSync(join(import.meta.dirname, '../../tests/vectors', name), 'utf8'));
const secret = generateSecret();
const password = 'a-password-of-at-least-32-characters';
const START = 1_800_000_000_000;
const UNTIL = new Date(START + 3_600_000);
const LATER = new Date(START + 1);
const cookieOf = (line) => line.split(';')[0];
const text = (bytes) => (typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString());

const iron = ironSession({ cookieName: 'my-app', password });
const seal = (fields, options) => sealIron(fields, { password, now: START, ...options });

function moving(options = {}, sessionOptions = {}) {
  const clock = { now: START };
  const sessions = createSessions({ secret, now: () => clock.now, ...sessionOptions });
  const refused = [];
  const subject = (data) => data.userId ?? data.user_id ?? null;
  return { clock, sessions, refused, moving: importing(sessions, { from: iron, until: UNTIL, subject, now: () => clock.now, onRefused: (reason) => refused.push(reason), ...options }) };
}

test('every seal of iron-session opens', async () => {
  const { seals } = vectors('iron.json');
  assert.equal(seals.length, 18);
  for (const { id, passwords, sealed_at, ttl, json, seal } of seals) {
    const opened = await openIron(seal, { password: passwords, now: sealed_at });
    assert.deepEqual(opened, { fields: JSON.parse(json), expiresAt: ttl === 0 ? null : sealed_at + ttl * 1000 }, id);
  }
});

test('what iron-session refuses is refused', async () => {
  const { judged, passwords } = vectors('iron.json');
  assert.equal(judged.length, 25);
  for (const { id, at, seal, json, refused } of judged) {
    const opened = await openIron(seal, { password: passwords, now: at });
    if (refused === undefined) assert.deepEqual(opened.fields, JSON.parse(json), id);
    else if (refused === 'invalid') assert.ok(['malformed', 'forged'].includes(opened), `${id}: ${opened}`);
    else assert.equal(opened, refused, id);
  }
});

test('every value of the Crystal library opens, but for what MD5 signed', async () => {
  const { cases } = vectors('crystal/message_encryptor.json');
  assert.equal(cases.length, 42);
  for (const { id, secret, use_kdf, kdf_iterations, kdf_salt, digest, plaintext_hex, sealed, parts } of cases) {
    const options = { secret, now: START, allowSha1Until: LATER, ...(use_kdf ? { kdf: { iterations: kdf_iterations, salt: kdf_salt } } : {}) };
    const dashed = `${parts.data_b64}--${parts.digest_b64}`;
    const standard = sealed.replaceAll('=', '').replaceAll('-', '+').replaceAll('_', '/');
    for (const value of [sealed, sealed.replaceAll('=', ''), standard, dashed]) {
      const opened = await openCrystal(value, options);
      if (digest === 'md5') assert.equal(opened, 'digest', id);
      else assert.equal(Buffer.from(opened).toString('hex'), plaintext_hex, `${id} ${opened}`);
    }
    if (digest === 'sha1') {
      assert.equal(await openCrystal(sealed, { ...options, now: LATER.getTime() }), 'digest', id);
      assert.equal(await openCrystal(sealed, { ...options, allowSha1Until: undefined }), 'digest', id);
    }
  }
});

test('every cookie of the Crystal library opens, deflated too', async () => {
  for (const { id, secret, use_kdf, kdf_iterations, kdf_salt, session_json, cookie_value } of vectors('crystal/cookie_store.json').cases) {
    const kdf = { iterations: kdf_iterations, salt: kdf_salt };
    const opened = await openCrystal(cookie_value, { secret, now: START, allowSha1Until: LATER, ...(use_kdf ? { kdf } : {}) });
    assert.equal(text(opened), session_json, id);
  }
});

test("mutations of a Crystal value: as in Rust", async () => {
  const stricter = ['extra_padding', 'trailing_crlf_pad', 'newline_after_4', 'signed_over_data_with_newline'];
  let refused = 0;
  for (const { id, secret, token, result, plaintext_hex } of vectors('crystal/message_encryptor.json').mutations) {
    const opened = await openCrystal(token, { secret, now: START, allowSha1Until: LATER });
    if (result === 'ok' && !stricter.includes(id)) assert.equal(Buffer.from(opened).toString('hex'), plaintext_hex, id);
    else {
      assert.equal(typeof opened, 'string', id);
      refused += 1;
    }
  }
  assert.equal(refused, 22);
});

test('a seal becomes a session, and the old cookie is removed with it', async () => {
  const { moving: site, sessions } = moving();
  const request = new Request('https://a.example', { headers: { cookie: `a=b; my-app=${await seal({ userId: 42, theme: 'dark' })}` } });
  const session = await site.load(request);
  assert.deepEqual([session.subject, session.data.theme, session.isNew, session.rejected], ['42', 'dark', true, null]);
  const response = await site.commit(session, new Response('x'));
  const [line, removal] = response.headers.getSetCookie();
  assert.equal(removal, 'my-app=; Path=/; Max-Age=0; Secure');
  assert.equal(response.headers.get('cache-control'), 'no-store');
  const own = sessions.load(cookieOf(line));
  assert.deepEqual([own.subject, own.data], ['42', { userId: 42, theme: 'dark' }]);
});

test('an import proves nothing: who is signed in has still to give a proof', async () => {
  const { moving: site, sessions, clock } = moving();
  const imported = await site.load(`my-app=${await seal({ userId: 42 })}`);
  assert.deepEqual([imported.subject, imported.authenticatedAt], ['42', null]);
  const [line] = await site.setCookies(imported);
  assert.deepEqual([imported.subject, imported.authenticatedAt], ['42', null]);
  const later = sessions.load(cookieOf(line));
  assert.deepEqual([later.subject, later.authenticatedAt, later.expiresAt.getTime()], ['42', null, START + 3_600_000]);
  clock.now += 1000;
  later.authenticate('42');
  const proven = sessions.load(cookieOf(await sessions.setCookie(later)));
  assert.deepEqual([proven.subject, proven.authenticatedAt.getTime()], ['42', START + 1000]);
  assert.deepEqual(proven.data, { userId: 42 });
});

test('a sign-in in the request that imports is a proof', async () => {
  const { moving: site, sessions } = moving();
  for (const [subject, data] of [['42', { userId: 42 }], ['7', {}]]) {
    const session = await site.load(`my-app=${await seal({ userId: 42 })}`);
    session.authenticate(subject);
    const [line] = await site.setCookies(session);
    const own = sessions.load(cookieOf(line));
    assert.deepEqual([own.subject, own.authenticatedAt.getTime(), own.data], [subject, START, data]);
  }
});

test('a cookie of ours comes first, whatever it is worth', async () => {
  const { moving: site, sessions } = moving();
  const old = `my-app=${await seal({ userId: 42 })}`;
  const mine = sessions.load(null);
  mine.data.mine = true;
  const line = cookieOf(await sessions.setCookie(mine));
  const session = await site.load(`${old}; ${line}`);
  assert.deepEqual(session.data, { mine: true });
  // The old one has had its day: it must not come back after a sign-out.
  session.destroy();
  assert.deepEqual(await site.setCookies(session), ['__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax', 'my-app=; Path=/; Max-Age=0; Secure']);
  const bad = await site.load(`${old}; __Host-session=rubbish`);
  assert.deepEqual([bad.rejected, await site.setCookies(bad)], ['malformed', []]);
  assert.equal((await site.load(`__Host-session=; ${old}`)).subject, '42');
});

test('off by default, and over at the end date', async () => {
  const cookie = `my-app=${await seal({ userId: 42 })}`;
  const { moving: site, clock, sessions, refused } = moving();
  assert.equal(sessions.load(cookie).subject, null);
  clock.now = UNTIL.getTime() - 1;
  assert.equal((await site.load(cookie)).subject, '42');
  clock.now += 1;
  for (const each of [cookie, 'my-app=rubbish']) {
    const session = await site.load(each);
    assert.deepEqual([session.subject, await site.setCookies(session), refused], [null, [], []]);
  }
  for (const until of [undefined, new Date('never'), 5]) assert.throws(() => importing(sessions, { from: iron, until }), { code: 'bad-config' });
});

test('what is refused is left alone, and said', async () => {
  const { moving: site, refused } = moving();
  const [good, old] = [await seal({ userId: 1 }), await seal({ userId: 1 }, { ttl: 60, now: START - 120_000 })];
  const other = await sealIron({}, { password: 'another-password-of-32-characters-x', now: START });
  for (const value of ['x', good.replace('*1*', '*2*'), other, old, `${'A'.repeat(20_000)}`]) {
    const session = await site.load(`my-app=${value}`);
    assert.deepEqual([session.subject, session.isNew, await site.setCookies(session)], [null, true, []]);
  }
  assert.deepEqual(refused, ['malformed', 'unknown-password', 'forged', 'expired', 'malformed']);
});

test('a seal in parts, and percent-encoded', async () => {
  const { moving: site } = moving();
  const sealed = await seal({ userId: 42, text: 'x'.repeat(6000) });
  const parts = sealed.match(/.{1,3800}/g);
  const cookie = parts.map((part, index) => `my-app.${index}=${part}`).reverse().join('; ');
  const session = await site.load(cookie);
  assert.deepEqual([session.subject, session.data.text.length], ['42', 6000]);
  assert.deepEqual(site.stale(session), parts.map((_, index) => `my-app.${index}`));
  await assert.rejects(site.setCookies(session), { code: 'cookie-too-large' });
  assert.equal((await site.load(`my-app=${(await seal({ userId: 7 })).replaceAll('*', '%2A')}`)).subject, '7');
});

test('a Crystal cookie becomes a session', async () => {
  const { cases } = vectors('crystal/cookie_store.json');
  const recorded = cases.find(({ id }) => id === 'long_secret-big_ids');
  const from = [iron, crystalCookies({ secret: recorded.secret })];
  const { moving: site } = moving({ from, subject: (data) => data.role }, { initial: () => ({ role: '', visits: 0 }) });
  const session = await site.load(`_session=0b6f; _session._data_=${recorded.cookie_value}`);
  const { session_id, created_at, expires_at, ...fields } = JSON.parse(recorded.session_json);
  assert.deepEqual(session.data, { visits: 0, ...fields });
  assert.equal(session.subject, 'guest');
  assert.deepEqual(site.stale(session), ['_session._data_', '_session']);
  assert.throws(() => crystalCookies({ secret: '1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13' }), { code: 'bad-secret' });
});

test('own data, of own making', async () => {
  const { moving: site } = moving({ data: ({ userId, __proto__: _, ...rest }) => ({ user: userId, rest }), subject: (data) => data.user });
  const session = await site.load(`my-app=${await seal({ userId: 0, nested: { a: [1] } })}`);
  assert.deepEqual([session.data, session.subject], [{ user: 0, rest: { nested: { a: [1] } } }, '0']);
  const hostile = await site.load(`my-app=${await seal(JSON.parse('{"__proto__":{"own":true},"userId":1}'))}`);
  assert.equal({}.own, undefined);
  assert.equal(hostile.data.user, 1);
});

test('bound to the client that imports', async () => {
  const { moving: site, sessions } = moving({}, { clientBinding: { ip: true, userAgent: true }, clientAddress: (request) => request.headers.get('x-real-ip') });
  const headers = { cookie: `my-app=${await seal({ userId: 42 })}`, 'x-real-ip': '203.0.113.7', 'user-agent': 'A' };
  const session = await site.load(new Request('https://a.example', { headers }));
  const [line] = await site.setCookies(session);
  assert.equal(sessions.load(cookieOf(line), { ip: '203.0.113.7', userAgent: 'A' }).subject, '42');
  assert.equal(sessions.load(cookieOf(line), { ip: '203.0.113.8', userAgent: 'A' }).rejected, 'bound-elsewhere');
});

test('a handler around another', async () => {
  const { moving: site } = moving();
  const fetch = site.handler((request, session, env) => new Response(`${env} ${session.subject}`));
  const response = await fetch(new Request('https://a.example', { headers: { cookie: `my-app=${await seal({ userId: 42 })}` } }), 'env');
  assert.equal(await response.text(), 'env 42');
  assert.equal(response.headers.getSetCookie().length, 2);
});

test('a session too large for our cookie: a handler answers, and the old cookie stays', async () => {
  const { moving: site } = moving();
  const cookie = `my-app=${await seal({ userId: 'alice', text: 'x'.repeat(4000) })}`;
  const show = (_, session) => new Response(session.subject);
  for (const [options, status, body] of [
    [undefined, 413, /4096/],
    [{ onUnsaved: (_, response) => response }, 200, /^alice$/],
  ]) {
    const response = await site.handler(show, options)(new Request('https://a.example', { headers: { cookie } }));
    assert.deepEqual([response.status, response.headers.getSetCookie()], [status, []]);
    assert.match(await response.text(), body);
  }
});

test('secrets that the other library would not have taken', () => {
  for (const password of [undefined, '', 'x'.repeat(31), { 1: 'short' }, {}]) assert.throws(() => ironSession({ cookieName: 'a', password }), { code: 'bad-secret' });
  assert.throws(() => ironSession({ cookieName: 'a', password: { 'a*b': password } }), { code: 'bad-config' });
  assert.throws(() => crystalCookies({ secret: 'x'.repeat(31) }), { code: 'bad-secret' });
  assert.throws(() => crystalCookies({ secret: '', kdf: {} }), { code: 'bad-secret' });
  assert.throws(() => crystalCookies({ secret: 'x', kdf: { iterations: 0 } }), { code: 'bad-config' });
});
