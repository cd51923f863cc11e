// The demo's JSON routes over real HTTP, with every store: the contract that `--help` states.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { startDemo } from './browser.mjs';
import { startRedis } from './redis.mjs';

const SECRETS = ['sk1_', 'sk1_'].map((prefix) => prefix + Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url'));

/** A client with a cookie jar of one cookie. */
class Client {
  cookie = '';

  constructor(url, cookie = '') {
    this.url = url;
    this.cookie = cookie;
  }

  async send(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(this.cookie && { cookie: this.cookie }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'manual',
    });
    const set = response.headers.getSetCookie();
    assert.ok(set.length <= 1, 'at most one cookie');
    if (set.length === 1) {
      const pair = set[0].split(';')[0];
      this.cookie = /; Max-Age=0(;|$)/.test(set[0]) ? '' : pair;
    }
    const text = await response.text();
    const json = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, headers: response.headers, set: set[0], body: json ? JSON.parse(text) : text };
  }

  get = (path) => this.send('GET', path);
  post = (path, body) => this.send('POST', path, body);
  me = async () => (await this.get('/api/me')).body;

  static async signedIn(url, username) {
    const client = new Client(url);
    assert.equal((await client.post('/api/login', { username })).status, 200);
    return client;
  }
}

/** Stores that several processes share. */
const SHARED = ['redis', 'cluster'];

for (const store of ['memory', 'cookie', ...SHARED]) {
  describe(`sessions kept in: ${store}`, () => {
    let demo, redis;
    const start = (secret, previous = '') => {
      const where = redis ? ['--redis-url', redis.url] : [];
      return startDemo(['--store', store, ...where], { SESSION_SECRET: secret, SESSION_PREVIOUS_SECRETS: previous });
    };

    before(async () => {
      if (SHARED.includes(store)) redis = await startRedis();
      demo = await start(SECRETS[0]);
    });
    after(async () => {
      await demo?.stop();
      await redis?.stop();
    });

    test('a visitor leaves no trace', async () => {
      const client = new Client(demo.url);
      assert.equal((await client.get('/healthz')).body, 'ok');
      for (let i = 0; i < 20; i++) {
        const answer = await client.get('/api/me');
        assert.deepEqual(answer.body, { username: null, counter: 0, values: {}, expires_in: 0 });
        assert.equal(answer.set, undefined);
        assert.match(answer.headers.get('vary'), /cookie/i);
      }
    });

    test('signing in and out', async () => {
      const client = await Client.signedIn(demo.url, 'ada');
      const { username, expires_in } = await client.me();
      assert.equal(username, 'ada');
      assert.ok(expires_in > 1790 && expires_in <= 1800, `${expires_in}`);
      const copy = client.cookie;
      const out = await client.post('/api/logout');
      assert.equal(out.status, 200);
      assert.equal(client.cookie, '');
      const thief = new Client(demo.url, copy);
      assert.equal((await thief.me()).username, null);
      assert.equal((await thief.get('/api/me')).set, undefined, 'a dead cookie is left alone');
    });

    test('a sign-in rotates the token: the one before is dead', async () => {
      const client = new Client(demo.url);
      await client.post('/api/set', { key: 'planted', value: 'yes' });
      const before = client.cookie;
      await client.post('/api/login', { username: 'ada' });
      assert.notEqual(client.cookie, before);
      assert.equal((await new Client(demo.url, before).me()).username, null);
      assert.deepEqual((await client.me()).values, { planted: 'yes' });
    });

    test('only sensible names sign in', async () => {
      for (const username of ['', '   ', 'a'.repeat(65)]) {
        const answer = await new Client(demo.url).post('/api/login', { username });
        assert.equal(answer.status, 400);
        assert.equal(answer.set, undefined);
      }
    });

    test('values and messages', async () => {
      const client = await Client.signedIn(demo.url, 'ada');
      await client.post('/api/set', { key: 'a', value: '1' });
      await client.post('/api/set', { key: 'ключ', value: '"</script>\u0000é🎉' });
      assert.deepEqual((await client.me()).values, { a: '1', ключ: '"</script>\u0000é🎉' });
      assert.deepEqual((await client.post('/api/increment')).body, { counter: 1 });
      assert.deepEqual((await client.post('/api/increment')).body, { counter: 2 });

      await client.post('/api/flash', { key: 'notice', message: 'hello' });
      await client.me(); // Doesn't look at messages, and takes none.
      assert.deepEqual((await client.get('/api/flash')).body, { notice: 'hello' });
      assert.deepEqual((await client.get('/api/flash')).body, {});
    });

    test('forged, foreign and mangled cookies are no cookies', async () => {
      const { cookie } = await Client.signedIn(demo.url, 'ada');
      const last = cookie.at(-10) === 'A' ? 'B' : 'A';
      const forgeries = [
        cookie.slice(0, -10) + last + cookie.slice(-9),
        cookie.slice(0, -1),
        `${cookie}A`,
        cookie.replace('session=', 'Session='),
        'session=',
        'session=..',
        `session=${'A'.repeat(4000)}`,
        `session=${'A'.repeat(8000)}`,
      ];
      for (const forged of forgeries) {
        const answer = await new Client(demo.url, forged).get('/api/me');
        assert.equal(answer.status, 200);
        assert.equal(answer.body.username, null, forged.slice(0, 40));
        assert.equal(answer.set, undefined);
      }
      // One that is planted before the real one hides nothing.
      assert.equal((await new Client(demo.url, `session=AAAA; ${cookie}`).me()).username, 'ada');
    });

    test('a slow request does not undo a sign-out', async () => {
      const client = await Client.signedIn(demo.url, 'ada');
      const copy = client.cookie;
      const slow = new Client(demo.url, copy);
      const answer = slow.get('/api/slow?ms=400');
      await client.post('/api/logout');
      assert.equal((await answer).status, 401);
      for (const cookie of [copy, slow.cookie, client.cookie]) {
        assert.equal((await new Client(demo.url, cookie).me()).username, null);
      }
    });

    test('signing out everywhere', async () => {
      const clients = await Promise.all([1, 2, 3].map(() => Client.signedIn(demo.url, 'everywhere')));
      const other = await Client.signedIn(demo.url, 'somebody-else');
      assert.equal((await new Client(demo.url).post('/api/logout-everywhere')).status, 401);
      assert.equal((await clients[0].post('/api/logout-everywhere')).status, 200);
      for (const client of clients) assert.equal((await client.me()).username, null);
      assert.equal((await other.me()).username, 'somebody-else');
      assert.equal((await (await Client.signedIn(demo.url, 'everywhere')).me()).username, 'everywhere');
    });

    if (store !== 'cookie') {
      test('requests that race lose nothing', async () => {
        const client = await Client.signedIn(demo.url, 'ada');
        const { cookie } = client;
        const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
        await Promise.all([
          ...keys.map((key) => new Client(demo.url, cookie).post('/api/set', { key, value: key })),
          ...keys.map(() => new Client(demo.url, cookie).post('/api/increment')),
          new Client(demo.url, cookie).get('/api/slow?ms=50'),
        ]);
        const { values, counter } = await client.me();
        assert.deepEqual(Object.keys(values).sort(), [...keys, 'slow'].sort());
        assert.equal(counter, keys.length);
      });

      test('where a user is signed in', async () => {
        const [one, two] = [await Client.signedIn(demo.url, 'linus'), await Client.signedIn(demo.url, 'linus')];
        assert.equal((await new Client(demo.url).get('/api/sessions')).status, 401);
        const { sessions } = (await one.get('/api/sessions')).body;
        assert.equal(sessions.length, 2);
        assert.equal(sessions.filter(({ current }) => current).length, 1);
        for (const client of [one, two]) {
          for (const { key } of sessions) assert.ok(!client.cookie.includes(key));
        }
      });

      test('more than a store keeps is refused, with a message', async () => {
        const client = await Client.signedIn(demo.url, 'ada');
        for (const key of ['a', 'b']) await client.post('/api/set', { key, value: 'x'.repeat(400_000) });
        const answer = await client.post('/api/set', { key: 'c', value: 'x'.repeat(400_000) });
        assert.equal(answer.status, 413);
        assert.match(answer.body, /1048576/);
        assert.deepEqual(Object.keys((await client.me()).values), ['a', 'b']);
      });
    }

    if (SHARED.includes(store)) {
      // A cache in each process may answer with what was before, for as long as a message takes and never longer than its lease.
      const check = (what) => (store === 'cluster' ? within(LEASE, what) : what());

      test('three processes are one site', async () => {
        const others = await Promise.all([start(SECRETS[0]), start(SECRETS[0])]);
        const urls = [demo, ...others].map(({ url }) => url);
        try {
          const { cookie } = await Client.signedIn(urls[0], 'ada');
          const everywhere = urls.map((url) => new Client(url, cookie));
          for (const client of everywhere) assert.equal((await client.me()).username, 'ada');
          await Promise.all(everywhere.flatMap((client) => Array.from({ length: 10 }, () => client.post('/api/increment'))));
          for (const client of everywhere) {
            await check(async () => assert.equal((await client.me()).counter, 30));
          }

          // What one ends is refused by all, from the next request on (with a cache: from the next message on).
          for (const [end, by] of [['/api/logout', 1], ['/api/logout-everywhere', 2]]) {
            const { cookie } = await Client.signedIn(urls[0], 'grace');
            for (const url of urls) assert.equal((await new Client(url, cookie).me()).username, 'grace');
            assert.equal((await new Client(urls[by], cookie).post(end)).status, 200);
            for (const url of urls) {
              await check(async () => assert.equal((await new Client(url, cookie).me()).username, null));
            }
          }
        } finally {
          await Promise.all(others.map((other) => other.stop()));
        }
      });

      test('a store that is down is no sign-out', async () => {
        const client = await Client.signedIn(demo.url, 'ada');
        await redis.stop();
        try {
          await check(async () => assert.equal((await client.get('/api/me')).status, 503));
          const answer = await client.get('/api/me');
          assert.equal(answer.status, 503);
          assert.equal(answer.set, undefined);
          assert.ok(Number(answer.headers.get('retry-after')) >= 1);
          assert.equal((await client.post('/api/logout')).status, 503);
        } finally {
          redis = undefined;
        }
      });
    }

    if (store === 'cookie') {
      test('more than a cookie holds is refused, with a message', async () => {
        const client = await Client.signedIn(demo.url, 'ada');
        await client.post('/api/set', { key: 'small', value: 'x' });
        const answer = await client.post('/api/set', { key: 'large', value: 'x'.repeat(4000) });
        assert.equal(answer.status, 413);
        assert.match(answer.body, /\d+ bytes .* 4096/);
        assert.equal(answer.set, undefined);
        assert.deepEqual((await client.me()).values, { small: 'x' });
      });

      test('secrets are rotated without signing anyone out', async () => {
        const client = await Client.signedIn(demo.url, 'ada');
        const before = client.cookie;
        const next = await start(SECRETS[1], SECRETS[0]);
        try {
          client.url = next.url;
          assert.equal((await client.me()).username, 'ada');
          assert.notEqual(client.cookie, before, 'sealed anew with the new secret');
        } finally {
          await next.stop();
        }
        const later = await start(SECRETS[1]);
        try {
          client.url = later.url;
          assert.equal((await client.me()).username, 'ada');
          assert.equal((await new Client(later.url, before).me()).username, null);
        } finally {
          await later.stop();
        }
      });
    }
  });
}

/** The lease of a cache, in milliseconds. */
const LEASE = 3000;

/** Waits until a check passes, but no longer than so many milliseconds. */
async function within(limit, check) {
  for (const until = performance.now() + limit; ; ) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > until) throw error;
    }
  }
}

test('a secret that is no secret stops the demo before it listens', async () => {
  await assert.rejects(startDemo([], { SESSION_SECRET: 'too short' }), /exit status 1/);
});
