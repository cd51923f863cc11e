/** Fresh seals, both ways: iron-session 8 and 9 against `session-edge/import`. Needs the built package, js/dist. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as nine from 'iron-session';
import * as eight from 'iron-session-8';
import { createSessions, generateSecret } from '../../js/dist/index.js';
import { importing, ironSession, openIron, sealIron } from '../../js/dist/import/index.js';

const password = { 1: 'first-password-that-has-at-least-32-characters', 2: 'второй пароль из тридцати двух знаков' };
const datas = Array.from({ length: 50 }, (_, i) => ({ userId: i, text: 'ä🎉"\\ '.repeat(i), nested: { list: [i, null, true, i / 3] } }));

test('what iron-session seals, session-edge opens, and the other way round', async () => {
  for (const { sealData, unsealData } of [eight, nine]) {
    for (const data of datas) {
      for (const ttl of [0, 60]) {
        assert.deepEqual((await openIron(await sealData(data, { password, ttl }), { password })).fields, data);
        assert.deepEqual(await unsealData(await sealIron(data, { password, ttl }), { password, ttl }), data);
      }
    }
  }
});

test('a site that moves: the cookies that iron-session set, whole and in parts', async () => {
  for (const text of ['short', 'x'.repeat(5000)]) {
    const headers = new Headers();
    const theirs = await nine.getIronSession(nine.webCookies(new Request('https://a.example'), headers), { cookieName: 'my-app', password, chunk: true });
    Object.assign(theirs, { userId: 42, text });
    await theirs.save();
    const cookie = headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');
    const sessions = createSessions({ secret: generateSecret() });
    const moving = importing(sessions, { from: ironSession({ cookieName: 'my-app', password }), until: new Date(Date.now() + 60_000), subject: (data) => data.userId });
    const session = await moving.load(new Request('https://a.example', { headers: { cookie } }));
    assert.deepEqual([session.subject, session.data.text], ['42', text]);
    assert.equal(moving.stale(session).length, headers.getSetCookie().length);
  }
});
