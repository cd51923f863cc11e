import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as api from 'session-edge';
import { createSessions, deriveSessions, generateSecret } from 'session-edge';

const secret = generateSecret();
const cookieOf = (line) => line.split(';')[0];
const START = 1_800_000_000_000;

/** Sessions with a clock that stands until it is moved. */
function withClock(options = {}) {
  const clock = { now: START };
  return { clock, sessions: createSessions({ secret, now: () => clock.now, ...options }) };
}

async function stored(sessions, write) {
  const session = sessions.load(null);
  write(session);
  return cookieOf(await sessions.setCookie(session));
}

/** Seals a payload by node:crypto: an implementation of core/FORMAT.md of its own. */
function sealed(payload, expiresAt, { secret: by = secret, name = '__Host-session', kind = 0 } = {}) {
  const key = (info, length) => Buffer.from(hkdfSync('sha256', Buffer.from(by.slice(4), 'base64url'), 'session-token-v1', info, length));
  const iv = randomBytes(16);
  const head = Buffer.alloc(14);
  head.set([1, kind << 1]);
  key('key-id', 4).copy(head, 2);
  head.writeBigUInt64BE(BigInt(expiresAt), 6);
  const cipher = createCipheriv('aes-256-cbc', key('encryption', 32), iv);
  const body = Buffer.concat([head, iv, cipher.update(payload), cipher.final()]);
  const framed = (text) => Buffer.concat([Buffer.from(Uint32Array.of(text.length).buffer).swap32(), Buffer.from(text)]);
  const tag = createHmac('sha256', key('authentication', 32)).update(framed('session-token-v1')).update(framed(name)).update(body).digest();
  return `${name}=${Buffer.concat([body, tag]).toString('base64url')}`;
}

const SID = 'oKGio6SlpqeoqaqrrK2urw';

/** A payload: its first line, the attributes, the data. */
function payloadOf({ sid = SID, rot = 0, iat = START, abs = START + 1e7, ver = 1, ...attributes }, data) {
  const line = Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes);
  return [`${sid}.${rot}.${iat}.${abs}.${ver}`, line, ...(data === undefined ? [] : [data])].join('\n');
}

test('a new session that nothing was written to sends nothing', async () => {
  const { sessions } = withClock();
  const session = sessions.load(new Request('https://a.example/'));
  assert.equal(session.isNew, true);
  assert.deepEqual(session.data, {});
  assert.equal(session.subject, null);
  assert.equal(session.flash.get('notice'), null);
  assert.equal(session.key, null);
  assert.equal(await sessions.setCookie(session), null);
});

test('commit adds to a response and leaves the rest as it is', async () => {
  const { sessions } = withClock();
  const untouched = new Response('x');
  assert.equal(await sessions.commit(sessions.load(null), untouched), untouched);
  const session = sessions.load(null);
  session.data.a = 1;
  const headers = new Headers({ vary: 'Accept', 'set-cookie': 'other=1', 'cache-control': 'public' });
  const response = await sessions.commit(session, new Response('body', { status: 418, headers }));
  assert.equal(response.status, 418);
  assert.equal(await response.text(), 'body');
  assert.equal(response.headers.get('vary'), 'Accept, Cookie');
  assert.equal(response.headers.get('cache-control'), 'no-store');
  const [other, line] = response.headers.getSetCookie();
  assert.equal(other, 'other=1');
  assert.match(line, /^__Host-session=[\w-]+; Path=\/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax$/);
  // Immutable headers, and responses without a body.
  const redirect = await sessions.commit(sessions.load(cookieOf(line)), Response.redirect('https://a.example/b'));
  assert.equal(redirect.status, 302);
  const read = sessions.load(cookieOf(line));
  assert.equal(read.data.a, 1);
  const response304 = await sessions.commit(read, new Response(null, { status: 304, headers: { vary: '*' } }));
  assert.deepEqual([response304.headers.get('vary'), response304.headers.get('set-cookie'), response304.headers.get('cache-control')], ['*', null, 'private']);
});

test('what is written equal to what was there is not sent', async () => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => (session.data = { list: [1, 2], nested: { a: 'ä' } }));
  const session = sessions.load(cookie);
  session.data = { list: [1, 2], nested: { a: 'ä' } };
  assert.equal(await sessions.setCookie(session), null);
  session.data.list.push(3);
  const line = await sessions.setCookie(session);
  assert.deepEqual(sessions.load(cookieOf(line)).data.list, [1, 2, 3]);
  assert.equal(await sessions.setCookie(session), null);
});

test('user fields can have any name', async () => {
  const { sessions } = withClock();
  const data = { data: { data: 1 }, flash: 'x', subject: 2, authenticate: null, sid: 's', __proto__: undefined };
  Object.defineProperty(data, '__proto__', { value: { own: true }, enumerable: true });
  const session = sessions.load(await stored(sessions, (session) => (session.data = data)));
  assert.equal(session.subject, null);
  assert.deepEqual(session.data.data, { data: 1 });
  assert.deepEqual(Object.getOwnPropertyDescriptor(session.data, '__proto__').value, { own: true });
  assert.equal({}.own, undefined);
  assert.equal(await sessions.setCookie(session), null);
});

test('authenticate rotates, and another user starts empty', async () => {
  const { sessions, clock } = withClock();
  const anonymous = await stored(sessions, (session) => (session.data.cart = 1));
  const session = sessions.load(anonymous);
  const before = session.key;
  session.authenticate('ada');
  assert.equal(session.authenticatedAt, null);
  clock.now += 1000;
  const line = await sessions.setCookie(session);
  assert.equal(session.key, before);
  const ada = sessions.load(cookieOf(line));
  assert.deepEqual([ada.subject, ada.data.cart, ada.authenticatedAt.getTime()], ['ada', 1, START + 1000]);
  ada.flash.set('notice', 'for ada');
  ada.authenticate('bob');
  assert.deepEqual([ada.subject, ada.data], ['bob', {}]);
  const bob = sessions.load(cookieOf(await sessions.setCookie(ada)));
  assert.deepEqual([bob.subject, bob.data, bob.flash.get('notice')], ['bob', {}, null]);
  assert.throws(() => bob.authenticate(''), TypeError);
});

test('flash messages are shown once, by the first request that looks', async () => {
  const { sessions } = withClock();
  const first = await stored(sessions, (session) => {
    session.flash.set('notice', 'Saved');
    session.flash.set('alert', 'Careful');
  });
  const blind = sessions.load(first);
  assert.equal(await sessions.setCookie(blind), null);
  const looking = sessions.load(first);
  assert.equal(looking.flash.get('notice'), 'Saved');
  assert.deepEqual(looking.flash.all(), { notice: 'Saved', alert: 'Careful' });
  looking.flash.keep('alert');
  const next = sessions.load(cookieOf(await sessions.setCookie(looking)));
  assert.deepEqual([next.flash.get('notice'), next.flash.get('alert')], [null, 'Careful']);
  const last = sessions.load(cookieOf(await sessions.setCookie(next)));
  assert.deepEqual(last.flash.all(), {});
  last.flash.set('a', '1');
  last.flash.discard('a');
  assert.equal(await sessions.setCookie(last), null);
});

test('destroy ends the session for this client', async () => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => session.authenticate('ada'));
  const session = sessions.load(cookie);
  session.destroy();
  session.data.zombie = true;
  session.authenticate('zombie');
  assert.equal(session.subject, null);
  assert.equal(await sessions.setCookie(session), '__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax');
  const nobody = sessions.load(null);
  nobody.destroy();
  assert.equal(await sessions.setCookie(nobody), null);
});

test('signing in begins both timeouts anew, also where requests do not', async () => {
  const { sessions, clock } = withClock({ idleTimeout: 100, absoluteTimeout: 250, sliding: false });
  const before = await stored(sessions, (session) => (session.data.a = 1));
  clock.now += 90_000;
  const session = sessions.load(before);
  session.authenticate('ada');
  const after = sessions.load(cookieOf(await sessions.setCookie(session)));
  assert.equal(after.expiresAt.getTime(), clock.now + 100_000);
  assert.equal(after.absoluteEnd.getTime(), clock.now + 250_000);
});

test('sessions slide, end when idle, and end absolutely', async () => {
  const { sessions, clock } = withClock({ idleTimeout: 100, absoluteTimeout: 250 });
  let cookie = await stored(sessions, (session) => (session.data.a = 1));
  clock.now = START + 9_000;
  assert.equal(await sessions.setCookie(sessions.load(cookie)), null);
  clock.now = START + 99_999;
  const line = await sessions.setCookie(sessions.load(cookie));
  assert.match(line, /Max-Age=100;/);
  clock.now = START + 100_000;
  assert.equal(sessions.load(cookie).rejected, 'expired');
  cookie = cookieOf(line);
  clock.now = START + 190_000;
  const last = sessions.load(cookie);
  assert.equal(last.data.a, 1);
  assert.equal(last.absoluteEnd.getTime(), START + 250_000);
  cookie = cookieOf(await sessions.setCookie(last));
  clock.now = START + 249_999;
  assert.equal(sessions.load(cookie).rejected, null);
  assert.equal(await sessions.setCookie(sessions.load(cookie)), null);
  clock.now = START + 250_000;
  assert.equal(sessions.load(cookie).rejected, 'expired');
});

test('clock skew is tolerated when asked for', async () => {
  const { sessions, clock } = withClock({ clockSkew: 30, idleTimeout: 100 });
  const strict = createSessions({ secret, now: () => clock.now, idleTimeout: 100 });
  const cookie = await stored(sessions, (session) => (session.data.a = 1));
  clock.now = START + 129_999;
  assert.equal(sessions.load(cookie).rejected, null);
  assert.equal(strict.load(cookie).rejected, 'expired');
  clock.now = START + 130_000;
  assert.equal(sessions.load(cookie).rejected, 'expired');
});

test('a refused cookie is left alone', async () => {
  const { sessions } = withClock();
  for (const [value, rejected] of [
    ['x', 'malformed'],
    ['', 'malformed'],
    ['A'.repeat(5000), 'malformed'],
    [cookieOf(await stored(createSessions({ secret: generateSecret() }), (s) => (s.data.a = 1))).split('=')[1], 'unknown-key'],
  ]) {
    const session = sessions.load(`__Host-session=${value}`);
    assert.equal(session.rejected, rejected, value);
    assert.equal(session.isNew, true);
    assert.equal(await sessions.setCookie(session), null);
  }
});

test('duplicate cookies: the good one is found, whatever stands before it', async () => {
  const { sessions } = withClock();
  const good = await stored(sessions, (session) => (session.data.good = true));
  assert.equal(sessions.load(`__Host-session=bad; ${good}`).data.good, true);
  assert.equal(sessions.load(`a=b;${good}; __Host-session=bad`).data.good, true);
  assert.equal(sessions.load(`${'__Host-session=bad; '.repeat(4)}${good}`).rejected, 'malformed');
  assert.equal(sessions.load(`__host-session=x; x__Host-session=y`).rejected, null);
});

test('a header of a megabyte: of others, of ours, and with the good one in it', async () => {
  const { sessions } = withClock();
  const good = await stored(sessions, (session) => (session.data.good = true));
  const others = 'tracking=0123456789; '.repeat(50_000);
  assert.equal(sessions.load(others).rejected, null);
  assert.equal(sessions.load(`${others}${good}; ${others}`).data.good, true);
  assert.equal(sessions.load(`${good}; __Host-session=${'A'.repeat(1 << 20)}`).data.good, true);
  assert.equal(sessions.load(`__Host-session=${'A'.repeat(1 << 20)}; ${good}`).data.good, true);
  assert.equal(sessions.load('__Host-session=x; '.repeat(60_000) + good).rejected, 'malformed', 'at most four are tried');
  assert.equal(sessions.load(`__Host-session2=x; a__Host-session=y; __Host-session=; ${good}`).data.good, true);
});

test('any source of cookies will do', async () => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => (session.data.good = true));
  for (const source of [cookie, new Headers({ cookie }), new Request('https://a.example', { headers: { cookie } }), { headers: { cookie } }, { cookie: [cookie] }]) {
    assert.equal(sessions.load(source).data.good, true);
  }
  for (const source of [null, undefined, '', {}, { headers: {} }, new Headers()]) assert.equal(sessions.load(source).isNew, true);
});

test('keys rotate without signing anyone out', async () => {
  const old = generateSecret();
  const before = createSessions({ secret: old });
  const cookie = await stored(before, (session) => session.authenticate('ada'));
  for (const previousSecrets of [[old], `${generateSecret()}, ${old}`]) {
    const sessions = createSessions({ secret, previousSecrets });
    const session = sessions.load(cookie);
    assert.equal(session.subject, 'ada');
    const line = await sessions.setCookie(session);
    assert.equal(createSessions({ secret }).load(cookieOf(line)).subject, 'ada');
  }
});

test('client binding', async () => {
  const binding = { ip: true, userAgent: true };
  const { sessions } = withClock({ clientBinding: binding, clientAddress: (request) => request.headers.get('x-real-ip') });
  const home = { ip: '203.0.113.7', userAgent: 'A' };
  const session = sessions.load(null, home);
  session.data.a = 1;
  const cookie = cookieOf(await sessions.setCookie(session));
  assert.equal(sessions.load(cookie, home).rejected, null);
  assert.equal(sessions.load(cookie, { ...home, ip: '203.0.113.8' }).rejected, 'bound-elsewhere');
  assert.equal(sessions.load(cookie, { ...home, userAgent: 'B' }).rejected, 'bound-elsewhere');
  assert.equal(sessions.load(cookie, { ip: home.ip }).rejected, 'bound-elsewhere');
  const request = new Request('https://a.example', { headers: { cookie, 'x-real-ip': home.ip, 'user-agent': 'A' } });
  assert.equal(sessions.load(request).rejected, null);
  assert.throws(() => sessions.load(cookie), { code: 'client-address', name: 'ClientAddressError' });
  // Not bound yet: bound by the next save, which it causes.
  const { sessions: loose } = withClock();
  const unbound = await stored(loose, (each) => (each.data.a = 1));
  const line = await sessions.setCookie(sessions.load(unbound, home));
  assert.equal(sessions.load(cookieOf(line), { ...home, ip: '2001:db8::1' }).rejected, 'bound-elsewhere');
});

test('initial data', async () => {
  const { sessions } = withClock({ initial: () => ({ visits: 0, list: [] }) });
  const session = sessions.load(null);
  assert.equal(session.data.visits, 0);
  assert.equal(await sessions.setCookie(session), null);
  session.authenticate('ada');
  assert.deepEqual(sessions.load(cookieOf(await sessions.setCookie(session))).data, { visits: 0, list: [] });
  const created = sessions.create();
  assert.deepEqual(sessions.load(cookieOf(await sessions.setCookie(created))).data, { visits: 0, list: [] });
});

test('data that JSON or a cookie cannot hold', async () => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => (session.data.a = 1));
  const cyclic = {};
  cyclic.self = cyclic;
  for (const data of [{ big: 1n }, cyclic, [1], 'text', null, 5, { toJSON: () => undefined }]) {
    const session = sessions.load(cookie);
    session.data = data;
    await assert.rejects(sessions.setCookie(session), { code: 'not-json', name: 'NotJsonError' });
  }
  for (const length of [4000, 100_000, 2_000_000]) {
    const session = sessions.load(cookie);
    session.data.a = 'x'.repeat(length);
    const error = await sessions.commit(session, new Response()).catch((error) => error);
    assert.ok(error instanceof api.CookieTooLargeError && error instanceof api.SessionError, String(error));
    assert.equal(error.limit, 4096);
    assert.ok(error.actual > length && error.message.includes(String(error.actual)));
    session.data.a = 2;
    assert.equal(sessions.load(cookieOf(await sessions.setCookie(session))).data.a, 2);
  }
});

test('a handler answers for a session that cannot be saved', async () => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => (session.data.a = 1));
  const request = () => new Request('https://a.example/', { headers: { cookie } });
  const grow = (_, session) => {
    session.data.text = 'x'.repeat(5000);
    return new Response('made', { headers: { 'x-made': 'yes' } });
  };
  const refused = await sessions.handler(grow)(request());
  assert.deepEqual([refused.status, refused.headers.get('set-cookie'), refused.headers.get('vary')], [413, null, 'Cookie']);
  assert.match(await refused.text(), /4096/);

  const told = [];
  const onUnsaved = (error, response, { url }) => (told.push(error.code, url), response);
  const made = await sessions.handler(grow, { onUnsaved })(request());
  assert.deepEqual([made.status, await made.text(), made.headers.get('x-made')], [200, 'made', 'yes']);
  assert.deepEqual([made.headers.get('set-cookie'), made.headers.get('vary')], [null, 'Cookie']);
  assert.deepEqual(told, ['cookie-too-large', 'https://a.example/']);

  // What is no matter of size is thrown, and what the handler throws is its own.
  const list = (_, session) => ((session.data = [1]), new Response());
  await assert.rejects(sessions.handler(list)(request()), { code: 'not-json' });
  assert.equal((await sessions.handler(list, { onUnsaved })(request())).status, 200);
  const own = new api.SessionError('internal', 'of the handler');
  await assert.rejects(sessions.handler(() => Promise.reject(own), { onUnsaved })(request()), own);
});

test('any other byte anywhere in a token is refused', async () => {
  const { sessions } = withClock();
  for (const a of ['', '1'.repeat(16), '1'.repeat(32)]) {
    const cookie = await stored(sessions, (session) => (session.data.a = a));
    for (let at = '__Host-session='.length; at < cookie.length; at++) {
      for (let code = 0; code < 256; code++) {
        const changed = cookie.slice(0, at) + String.fromCharCode(code) + cookie.slice(at + 1);
        // Blanks around a value, quotes and what follows a semicolon are not the token's.
        if (changed === cookie || (at === cookie.length - 1 && [9, 10, 12, 13, 32].includes(code))) continue;
        assert.notEqual(sessions.load(changed).rejected, null, `${code} at ${at}`);
      }
    }
    assert.equal(sessions.load(cookie).data.a, a);
  }
});

test('payloads of other writers', async () => {
  const { sessions } = withClock();
  const said = { rot: 3, ver: 9, sub: 'jörg', epoch: 4, bind: null, later: [1] };
  const rust = sealed(payloadOf(said, '{ "b":1.0,\n"a":"\\u00e9"}'), START + 3_600_000);
  const session = sessions.load(rust);
  assert.deepEqual([session.subject, session.authenticatedAt, session.data], ['jörg', null, { b: 1, a: 'é' }]);
  assert.equal(await sessions.setCookie(session), null, 'another form of the same data is no change');
  // Broken text in an attribute that nobody reads; the long one is opened by node:crypto.
  for (const length of [1, 2000]) {
    const payload = Buffer.from(payloadOf({ ...said, filler: `${'x'.repeat(length)}?` }, '{}'));
    assert.equal(sessions.load(sealed(payload, START + 1000)).rejected, null);
    payload[payload.lastIndexOf('?')] = 0x89;
    assert.equal(sessions.load(sealed(payload, START + 1000)).rejected, 'malformed');
  }
});

test('the vectors of payloads', () => {
  const { sessions } = withClock();
  const vectors = JSON.parse(readFileSync(new URL('../../tests/vectors/payloads.json', import.meta.url), 'utf8'));
  for (const vector of vectors.readable) {
    const session = sessions.load(sealed(vector.payload, START + 1000));
    const { rejected, subject, key } = session;
    // `Date` ends in the year 275760, with `NaN`.
    const times = (dates) => dates.map((date) => date && new Date(date).getTime());
    assert.deepEqual({ rejected, subject, key }, { rejected: null, subject: vector.subject, key: vector.key }, vector.id);
    assert.deepEqual(
      times([session.createdAt, session.absoluteEnd, session.authenticatedAt]),
      times([vector.created_at, vector.absolute_end, vector.authenticated_at]),
      vector.id,
    );
    assert.deepEqual(session.data, JSON.parse(vector.data), vector.id);
    assert.deepEqual(Object.entries(session.flash.all()), vector.flash, vector.id);
  }
  // This side believes an authentic payload the types of its attributes, and reads numbers and text as JavaScript does.
  const believed = /^(number-too-large|sub-|auth-|flash-|bind-|lone-surrogate)/;
  const refused = vectors.unreadable.filter(({ id }) => !believed.test(id));
  for (const { id, payload } of refused) assert.equal(sessions.load(sealed(payload, START + 1000)).rejected, 'malformed', id);
  assert.ok(vectors.readable.length >= 11 && refused.length >= 30);
});

test('payloads that are none', () => {
  const { sessions } = withClock();
  const head = payloadOf({}).split('\n')[0];
  const unreadable = (payload) => {
    const { rejected, isNew, data, subject } = sessions.load(sealed(payload, START + 1000));
    assert.deepEqual({ rejected, isNew, data, subject }, { rejected: 'malformed', isNew: true, data: {}, subject: null }, JSON.stringify(payload));
  };
  for (const payload of [
    ...['', '\n', '\n\n', '\n\n{}', '{}', 'null\n\n{}', head],
    // The first line.
    ...['sid', '', `${SID}x`, `${SID.slice(1)}`, `${SID.slice(1)}=`].map((sid) => payloadOf({ sid }, '{}')),
    ...['', '00', '01', '-1', '+1', '1.0', '1e3', ' 1', '1 ', '0x1', 'null'].map((rot) => payloadOf({ rot }, '{}')),
    ...[`${head}.1`, head.replace(/\.\d+$/, ''), ` ${head}`, `${head} `, `${head}\r`].map((line) => `${line}\n\n{}`),
    // Attributes.
    ...['null', '[]', '1', '"x"', '{', '{}{}', ' ', '{"sub":"a",}', '{sub:1}'].map((line) => `${head}\n${line}\n{}`),
  ]) {
    unreadable(payload);
    assert.deepEqual(sessions.verify(sealed(payload, START + 1000, { kind: 1 })), { valid: false, rejected: 'malformed' }, JSON.stringify(payload));
  }
  // The data: there is none, or no JSON. A reference has none, and may have anything there.
  for (const rest of ['', '\n', '\n ', '\n{', '\n{}}', '\nx', "\n{'a':1}"]) {
    for (const line of [`${head}\n`, `${head}\n{}`]) {
      unreadable(line + rest);
      assert.equal(sessions.verify(sealed(line + rest, START + 1000, { kind: 1 })).valid, true);
    }
  }
});

test('what is sealed is the written form', async () => {
  const { sessions, clock } = withClock();
  const opened = (cookie) => {
    const token = Buffer.from(cookie.slice(cookie.indexOf('=') + 1), 'base64url');
    const key = Buffer.from(hkdfSync('sha256', Buffer.from(secret.slice(4), 'base64url'), 'session-token-v1', 'encryption', 32));
    const decipher = createDecipheriv('aes-256-cbc', key, token.subarray(14, 30));
    return Buffer.concat([decipher.update(token.subarray(30, -32)), decipher.final()]).toString();
  };
  const first = await stored(sessions, (session) => (session.data.theme = 'dark'));
  const [sid] = opened(first).split('.');
  assert.equal(opened(first), `${sid}.0.${START}.${START + 86_400_000}.1\n\n{"theme":"dark"}`);

  clock.now += 1000;
  const session = sessions.load(first);
  session.authenticate('ada');
  session.flash.set('notice', 'Hi');
  session.data.theme = 'a\nb';
  const second = cookieOf(await sessions.setCookie(session));
  const attributes = `{"sub":"ada","auth":${clock.now},"flash":{"notice":"Hi"}}`;
  assert.equal(opened(second), `${sid}.1.${START}.${clock.now + 86_400_000}.2\n${attributes}\n{"theme":"a\\nb"}`);

  // Attributes of later versions stay, the data as it was written; of another subject the epoch goes.
  const rust = sealed(payloadOf({ sub: 'ada', epoch: 4, later: [null] }, '{ "a":1.0}'), START + 3_600_000);
  const refreshed = sessions.load(rust);
  refreshed.regenerate();
  assert.equal(opened(cookieOf(await sessions.setCookie(refreshed))), payloadOf({ rot: 1, ver: 2, sub: 'ada', epoch: 4, later: [null] }, '{ "a":1.0}'));
  const handedOver = sessions.load(rust);
  handedOver.authenticate('bob');
  const abs = clock.now + 86_400_000;
  assert.equal(opened(cookieOf(await sessions.setCookie(handedOver))), payloadOf({ rot: 1, ver: 2, abs, sub: 'bob', auth: clock.now, later: [null] }, '{}'));
});

test('clocks with fractions', async () => {
  const sessions = createSessions({ secret, now: () => START + 0.75 });
  const session = sessions.load(await stored(sessions, (session) => (session.data.a = 1)));
  assert.deepEqual([session.rejected, session.data.a, session.createdAt.getTime()], [null, 1, START]);
});

test('references of stored sessions are verified', () => {
  const { sessions, clock } = withClock();
  const payload = payloadOf({ rot: 2, abs: START + 9000, ver: 3, sub: '42' });
  const cookie = sealed(payload, START + 5000, { kind: 1 });
  assert.deepEqual(sessions.verify(cookie), {
    valid: true,
    subject: '42',
    key: 'ErBlo6en2dwTjJ6_yq5RLg',
    rotation: 2,
    expiresAt: new Date(START + 5000),
    absoluteEnd: new Date(START + 9000),
  });
  assert.equal(sessions.load(cookie).rejected, 'wrong-cookie');
  assert.deepEqual(sessions.verify(null), { valid: false, rejected: null });
  assert.deepEqual(sessions.verify(`${cookie}x`), { valid: false, rejected: 'malformed' });
  clock.now = START + 5000;
  assert.deepEqual(sessions.verify(cookie), { valid: false, rejected: 'expired' });
});

test('impossible options are errors when the application starts', async () => {
  for (const [options, code] of [
    [{ secret: undefined }, 'bad-secret'],
    [{ secret: '' }, 'bad-secret'],
    [{ secret: 'correct horse battery staple' }, 'passphrase'],
    [{ secret: 'sk1_short' }, 'bad-secret'],
    [{ secret: `sk1_${'A'.repeat(43)}` }, 'bad-secret'],
    [{ previousSecrets: ['nonsense'] }, 'passphrase'],
    [{ preset: 'staging' }, 'bad-config'],
    [{ cookie: { domain: 'example.com' } }, 'bad-config'],
    [{ cookie: { name: 'a b' } }, 'bad-config'],
    [{ cookie: { name: 's', secure: false, sameSite: 'none' } }, 'bad-config'],
    [{ cookie: { sameSite: 'Lax' } }, 'bad-config'],
    [{ cookie: { secure: 'yes' } }, 'bad-config'],
    [{ idleTimeout: 0 }, 'bad-config'],
    [{ idleTimeout: -1 }, 'bad-config'],
    [{ idleTimeout: '1h' }, 'bad-config'],
    [{ absoluteTimeout: 401 * 86_400 }, 'bad-config'],
    [{ clockSkew: NaN }, 'bad-config'],
    [{ clientBinding: { ip: { v4: 33, v6: 64 } } }, 'bad-config'],
  ]) {
    const error = await Promise.resolve().then(() => createSessions({ secret, ...options })).catch((error) => error);
    assert.ok(error instanceof api.SessionError, JSON.stringify(options));
    assert.equal(error.code, code, error.message);
    assert.doesNotMatch(error.message, /sk1_A/);
  }
  await assert.rejects(deriveSessions({ secret: 'short' }), { code: 'bad-secret' });
  await assert.rejects(deriveSessions({ secret: 'correct horse battery staple', kdf: { iterations: 10 } }), { code: 'bad-secret' });
});

test('every cookie attribute', async () => {
  const cookie = { name: 'id', path: '/app', domain: 'example.com', httpOnly: false, sameSite: 'none', partitioned: true, persistent: false };
  const { sessions } = withClock({ cookie });
  const session = sessions.create();
  assert.match(await sessions.setCookie(session), /^id=[\w-]+; Path=\/app; Domain=example.com; Secure; SameSite=None; Partitioned$/);
});

test('presets have the names and values of Rust', async () => {
  for (const [preset, name, age] of [['development', 'session', 1800], ['production', '__Host-session', 3600], ['testing', 'session', 300], ['clustered', '__Host-session', 3600]]) {
    const { sessions } = withClock({ preset });
    const line = await sessions.setCookie(sessions.create());
    assert.ok(line.startsWith(`${name}=`) && line.includes(`Max-Age=${age};`), line);
    assert.equal(line.includes('; Secure'), name !== 'session');
  }
  const { sessions } = withClock({ preset: 'high_security' });
  assert.match(await sessions.setCookie(sessions.create({ ip: '::1', userAgent: 'A' })), /Max-Age=900; .*SameSite=Strict/);
});

test('without Web Crypto there is a clear error', () => {
  const { crypto } = globalThis;
  Object.defineProperty(globalThis, 'crypto', { value: undefined, configurable: true });
  try {
    assert.throws(() => createSessions({ secret }), { code: 'no-web-crypto', name: 'CryptoUnavailableError' });
  } finally {
    Object.defineProperty(globalThis, 'crypto', { value: crypto, configurable: true });
  }
});

test('a random source that fails: nothing is sealed, and the error says so', async (t) => {
  const { sessions } = withClock();
  const cookie = await stored(sessions, (session) => (session.data.a = 1));
  t.mock.method(crypto, 'getRandomValues', () => {
    throw new Error('no entropy');
  });
  for (const source of [null, cookie]) {
    const session = sessions.load(source);
    session.data.b = 2;
    await assert.rejects(sessions.setCookie(session), { code: 'no-web-crypto', name: 'CryptoUnavailableError' });
  }
  assert.equal(sessions.load(cookie).data.a, 1, 'opening needs none');
});

test('each token has an initialisation vector of its own, of the runtime\'s random source', async (t) => {
  const { sessions } = withClock();
  const given = [];
  const { getRandomValues } = crypto;
  t.mock.method(crypto, 'getRandomValues', (bytes) => {
    getRandomValues.call(crypto, bytes);
    given.push(Buffer.from(bytes).toString('hex'));
    return bytes;
  });
  const cookie = await stored(sessions, (session) => (session.data.visits = 1));
  const ivs = new Set();
  for (let visits = 0; visits < 50; visits++) {
    const session = sessions.load(cookie);
    session.data.visits = visits;
    const token = Buffer.from(cookieOf(await sessions.setCookie(session) ?? cookie).split('=')[1], 'base64url');
    assert.ok(given.includes(token.subarray(14, 30).toString('hex')), 'by the module, which is what seals so little');
    ivs.add(token.subarray(14, 30).toString('hex'));
  }
  assert.equal(ivs.size, 50);
});

test('a runtime that derives too little names the way out', async (t) => {
  // What Cloudflare's network does. workerd by itself has no limit: there is nothing that could be run here.
  t.mock.method(crypto.subtle, 'deriveBits', async ({ iterations }) => {
    if (iterations > 100_000) throw new DOMException('iteration counts above 100000 are not supported', 'NotSupportedError');
    return new ArrayBuffer(32);
  });
  const error = await deriveSessions({ secret: 'correct horse battery staple' }).catch((error) => error);
  assert.ok(error instanceof api.KeyDerivationError);
  assert.match(error.message, /sk1_/);
});

test('100,000 hostile tokens, then a good one', async () => {
  const { sessions } = withClock();
  const good = await stored(sessions, (session) => (session.data.good = true));
  const [name, token] = good.split('=');
  for (let round = 0; round < 100_000; round++) {
    const at = (round * 7919) % token.length;
    const how = round % 4;
    const value =
      how === 0 ? token.slice(0, at) : how === 1 ? `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`
      : how === 2 ? 'AQB'.padEnd(round % 5000, 'Q') : String.fromCharCode(...randomBytes(round % 50));
    if (sessions.load(`${name}=${value}`).data.good === true) assert.equal(value, token);
  }
  assert.equal(sessions.load(good).data.good, true);
});

test('a trap in the module does not poison the requests after it', async (t) => {
  const { Instance } = WebAssembly;
  t.after(() => (WebAssembly.Instance = Instance));
  const instances = [];
  WebAssembly.Instance = class extends Instance {
    constructor(...given) {
      super(...given);
      instances.push(this);
    }
  };
  // A copy of the package with an instance of its own.
  const fresh = await import(new URL('../dist/index.js?fresh', import.meta.url));
  const sessions = fresh.createSessions({ secret });
  const good = await stored(sessions, (session) => (session.data.good = true));
  /** Takes all the memory that the instance could grow into: what it allocates next, it can't have, and it traps. */
  const starve = ({ exports: { memory } }) => {
    for (let pages = 1 << 16; pages > 0; ) {
      try {
        memory.grow(pages);
      } catch {
        pages >>= 1;
      }
    }
  };
  const large = 'x'.repeat(1 << 20);

  starve(instances.at(-1));
  assert.equal(sessions.load(`${sessions.cookieName}=${large}`).rejected, 'malformed');
  assert.equal(sessions.load(good).data.good, true);
  assert.equal(instances.length, 2, 'the trap was one, and the instance was replaced');

  starve(instances.at(-1));
  const session = sessions.load(good);
  session.data.large = large;
  assert.throws(() => sessions.prepare(session), (error) => error.code === 'internal' && error.cause instanceof WebAssembly.RuntimeError);
  assert.equal(sessions.load(good).data.good, true);
  assert.equal(instances.length, 3);
  delete session.data.large;
  session.data.more = 1;
  assert.ok(sessions.prepare(session).cookie !== null, 'the session can be committed after all');
});

test('headers of ever greater lengths take no more memory than twice the greatest', async (t) => {
  const { Instance } = WebAssembly;
  t.after(() => (WebAssembly.Instance = Instance));
  let memory;
  WebAssembly.Instance = class extends Instance {
    constructor(...given) {
      super(...given);
      ({ memory } = this.exports);
    }
  };
  const fresh = await import(new URL('../dist/index.js?memory', import.meta.url));
  const sessions = fresh.createSessions({ secret });
  const load = (length) => assert.equal(sessions.load(`${sessions.cookieName}=${'A'.repeat(length)}`).rejected, 'malformed');
  load(10);
  const before = memory.buffer.byteLength;
  for (let length = 10_000; length < 1_000_000; length += 9_999) load(length);
  const after = memory.buffer.byteLength;
  // A character may need three bytes.
  assert.ok(after - before < 9 * 2 ** 20, `${before} -> ${after}`);
  for (let length = 1_000_000; length > 10_000; length -= 9_999) load(length);
  assert.equal(memory.buffer.byteLength, after);
});

test('sessions that are created with each request cost no memory', async () => {
  const one = createSessions({ secret, cookie: { name: 'one', secure: false } });
  const cookie = await stored(one, (session) => (session.data.a = 1));
  for (let round = 0; round < 1000; round++) {
    createSessions({ secret, cookie: { name: `other${round}`, secure: false } });
  }
  assert.equal(one.load(cookie).data.a, 1);
  for (let round = 0; round < 20_000; round++) createSessions({ secret, cookie: { name: 'one', secure: false } });
  assert.equal(one.load(cookie).data.a, 1);
});

test('the entry of Workers and its module stay within 48 KiB, compressed', () => {
  const dist = new URL('../dist/', import.meta.url);
  const compressed = ['workerd.js', 'session.wasm'].map((name) => gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length);
  assert.ok(compressed[0] + compressed[1] <= 48 * 1024, `${compressed.join(' + ')} bytes`);
});

test('a session that is remembered keeps its end, whatever this side does', async () => {
  const DAY = 86_400_000;
  const { clock, sessions } = withClock();
  const abs = START + 30 * DAY;
  const cookie = sealed(payloadOf({ rot: 1, abs, sub: 'ada', auth: START }, '{}'), abs);
  const maxAge = (line) => Number(/Max-Age=(\d+)/.exec(line)[1]);
  clock.now = START + 10 * DAY;
  assert.equal(await sessions.setCookie(sessions.load(cookie)), null, 'there is nothing to extend');
  for (const [act, days] of [
    [(session) => (session.data.visits = 1), 20],
    [(session) => session.regenerate(), 20],
    [(session) => session.authenticate('ada'), 20],
  ]) {
    const session = sessions.load(cookie);
    act(session);
    assert.equal(maxAge(await sessions.setCookie(session)), (days * DAY) / 1000);
  }
  // Another subject gets the usual timeouts.
  const session = sessions.load(cookie);
  session.authenticate('bob');
  assert.equal(maxAge(await sessions.setCookie(session)), 3600);
});
