// A site of the Crystal library `session` moves in: the demo begins with what that library's own program wrote, and its users stay signed in.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';

import { startDemo } from './browser.mjs';
import { Jar } from './jar.mjs';
import { startRedis } from './redis.mjs';

const vectors = (name) => JSON.parse(readFileSync(new URL(`../vectors/crystal/${name}.json`, import.meta.url), 'utf8'));
const values = vectors('redis_values').cases;
const bytesOf = ({ value_hex }) => Buffer.from(value_hex, 'hex');

/** As the preset `production` there: compressed, sealed, the key derived. Its user is signed in. */
const ALICE = values.find(({ id }) => id === 'production_like-alice');
/** The session of every recording. */
const ID = JSON.parse(ALICE.session_json).session_id;
const KEY = `session:${ID}`;
const OTHER = 'd5c01a9e-7b0f-4a3e-8a5e-53f1c0a1f0aa';
const FUTURE = '2099-01-01';

/** The options for a site that was configured as a recording's. */
const optionsOf = ({ encrypt_redis_data, use_kdf, kdf_iterations, kdf_salt, digest }) => [
  ...(encrypt_redis_data ? ['--crystal-encrypted'] : []),
  ...(use_kdf ? ['--crystal-kdf-iterations', `${kdf_iterations}`, '--crystal-kdf-salt', kdf_salt] : []),
  ...(digest === 'sha1' ? ['--crystal-allow-sha1'] : []),
];
const start = (redis, site, { until = FUTURE, store = 'redis', args = [] } = {}) =>
  startDemo(
    ['--store', store, ...(redis ? ['--redis-url', redis.url] : []), ...(until ? ['--crystal-until', until] : []), ...(site && until ? optionsOf(site) : []), ...args],
    { SESSION_SECRET: SECRET, SESSION_PREVIOUS_SECRETS: '', CRYSTAL_SESSION_SECRET: site?.secret },
  );
const SECRET = `sk1_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url')}`;

for (const store of ['redis', 'cluster']) {
  describe(`a dump of its Redis, and the demo with --store ${store}`, () => {
    let redis, demo, second;
    const foreign = { 'cache:page': 'hello', 'session:no-uuid': 'x', [`session:${OTHER}`]: 'of somebody who never comes', 'queue:mail': '\u0000\u0001' };

    before(async () => {
      const old = await startRedis();
      old.ask('SETEX', KEY, `${ALICE.timeout_s}`, bytesOf(ALICE));
      for (const [key, value] of Object.entries(foreign)) old.ask('SETEX', key, '7200', value);
      assert.equal(old.ask('SAVE'), 'OK');
      redis = await startRedis({ dump: old.dump });
      await old.stop();
      [demo, second] = await Promise.all([1, 2].map(() => start(redis, ALICE, { store })));
    });
    after(async () => {
      await demo?.stop();
      await second?.stop();
      await redis?.stop();
    });

    test('a page full of requests, to two processes, with the old cookie: one session, whoever is first', async () => {
      assert.equal(redis.ask('EXISTS', KEY), '1');
      const jars = Array.from({ length: 20 }, (_, i) => new Jar([demo, second][i % 2].url, { _session: ID }));
      assert.deepEqual(await Promise.all(jars.map(async (jar) => (await jar.me()).username)), jars.map(() => 'alice'));
      assert.equal(redis.ask('EXISTS', KEY), '0', 'gone from where it was');
      await Promise.all(jars.map((jar) => jar.post('/api/increment')));
      const fresh = new Jar(demo.url, { _session: ID });
      assert.equal((await fresh.post('/api/increment')).body.counter, 21);
      assert.equal((await fresh.get('/api/sessions')).body.sessions.length, 1);
    });

    test('a user stays signed in, gets a cookie of ours, and goes on', async () => {
      const alice = new Jar(demo.url, { _session: ID, theme: 'dark' });
      const { set, body } = await alice.get('/api/me');
      assert.equal(body.username, 'alice');
      assert.ok(body.expires_in > 1700, 'with the timeouts of this library');
      assert.match(set.join(), /^session=[\w-]+; Path=\/; .*HttpOnly/);
      assert.deepEqual((await alice.get('/api/me')).set, [], 'one cookie is enough');
      assert.deepEqual((await alice.post('/api/increment')).body, { counter: 22 });
      assert.match((await alice.get('/')).body, /signed in as <b>alice<\/b>/);
      assert.equal((await alice.get('/profile')).status, 200, 'a page behind the sign-in');
      // The old cookie has had its day: ours is enough.
      const own = new Jar(second.url, { session: alice.cookies.get('session') });
      assert.equal((await own.post('/api/increment')).body.counter, 23);
    });

    test('a sign-out is final, also for the old cookie, and after a restart', async () => {
      const alice = new Jar(demo.url, { _session: ID });
      assert.equal((await alice.me()).username, 'alice');
      assert.equal((await alice.post('/api/logout')).status, 200);
      // A node in Crystal that was still running writes the session again.
      redis.ask('SETEX', KEY, '3600', bytesOf(ALICE));
      assert.deepEqual([(await alice.me()).username, (await new Jar(demo.url, { _session: ID }).me()).username], [null, null]);
      await demo.stop();
      demo = await start(redis, ALICE, { store });
      assert.equal((await new Jar(demo.url, { _session: ID }).me()).username, null);
    });

    test('foreign keys are left alone', () => {
      for (const [key, value] of Object.entries(foreign)) {
        assert.equal(redis.ask('GET', key), value);
        assert.ok(Number(redis.ask('TTL', key)) > 7000, 'with the time that they had');
      }
    });
  });
}

test('services in Crystal that run beside keep their sessions, if that is asked for', async () => {
  const redis = await startRedis();
  redis.ask('SETEX', KEY, '3600', bytesOf(ALICE));
  const demo = await start(redis, ALICE, { args: ['--crystal-keep'] });
  try {
    const alice = new Jar(demo.url, { _session: ID });
    assert.equal((await alice.me()).username, 'alice');
    assert.equal((await alice.post('/api/logout')).status, 200);
    assert.equal((await alice.me()).username, null, 'what ended here stays so');
    assert.equal(redis.ask('EXISTS', KEY), '1');
  } finally {
    await demo.stop();
    await redis.stop();
  }
});

describe('every recorded value', () => {
  let redis;
  before(async () => (redis = await startRedis()));
  after(() => redis?.stop());

  /** By the configuration that they were written with. */
  const sites = {};
  for (const value of values) (sites[[value.secret, ...optionsOf(value)]] ??= []).push(value);

  for (const recorded of Object.values(sites)) {
    test(recorded.map(({ id }) => id).join(', '), async () => {
      const demo = await start(redis, recorded[0]);
      try {
        for (const value of recorded) {
          // All have one id: each begins with an empty server.
          redis.ask('FLUSHALL');
          redis.ask('SETEX', value.keys_in_db[0], `${Math.trunc(value.timeout_s)}`, bytesOf(value));
          const jar = new Jar(demo.url, { _session: ID });
          const { username = null, authenticated } = JSON.parse(value.session_json);
          assert.equal((await jar.me()).username, username, value.id);
          assert.equal(redis.ask('EXISTS', KEY), '0', value.id);
          // Who is signed in there is said by the class; whoever isn't, isn't here.
          assert.equal((await jar.get('/api/sessions')).status, authenticated ? 200 : 401, value.id);
          assert.deepEqual((await jar.post('/api/increment')).body, { counter: 1 }, value.id);
        }
      } finally {
        await demo.stop();
      }
    });
  }
});

describe('what is not taken over', () => {
  let redis;
  before(async () => (redis = await startRedis()));
  after(() => redis?.stop());

  const refused = async (site, cookies, options) => {
    const demo = await start(redis, site, options);
    try {
      const jar = new Jar(demo.url, cookies);
      const { status, body, set } = await jar.get('/api/me');
      assert.deepEqual([status, body.username, set], [200, null, []]);
      assert.equal((await jar.get('/api/sessions')).status, 401);
    } finally {
      await demo.stop();
    }
  };
  const here = { _session: ID };

  for (const [name, site, options] of [
    ['anything, unless it is asked for', ALICE, { until: null }],
    ['anything, after the end date', ALICE, { until: '2026-01-31' }],
    ['what another secret sealed', { ...ALICE, secret: 'another secret of the Crystal site' }],
    ['what was derived in another way', { ...ALICE, kdf_salt: 'another salt' }],
    ['what is sealed, if nothing was sealed there', { ...ALICE, encrypt_redis_data: false }],
    ['the cookie of another name', ALICE, { args: ['--crystal-session-key', 'other'] }],
  ]) {
    test(name, async () => {
      redis.ask('SETEX', KEY, '3600', bytesOf(ALICE));
      await refused(site, here, options);
      assert.equal(redis.ask('EXISTS', KEY), '1', 'it is left alone');
    });
  }

  test('a value under the name of another session', async () => {
    redis.ask('SETEX', `session:${OTHER}`, '3600', bytesOf(ALICE));
    await refused(ALICE, { _session: OTHER });
  });

  test('a plain value, if all were sealed', async () => {
    redis.ask('SETEX', KEY, '3600', bytesOf(values.find(({ id }) => id === 'plain-300b')));
    await refused(ALICE, here);
  });

  test('ids that the library did not make', async () => {
    redis.ask('SET', 'session:{x}', bytesOf(ALICE));
    for (const id of ['{x}', '*', `${ID}0`, ID.toUpperCase(), '']) await refused(ALICE, { _session: id });
  });
});

describe('its cookies', () => {
  const cookies = vectors('cookie_store').cases;
  const recorded = (wanted) => cookies.find(({ id }) => id === wanted);
  const old = ({ cookie_value }) => ({ _session: ID, '_session._data_': cookie_value });

  for (const store of ['memory', 'cookie']) {
    for (const id of ['kdf-unicode', 'kdf_compressed-compressible']) {
      test(`${id}, with --store ${store}`, async () => {
        const site = recorded(id);
        const demo = await start(null, site, { store });
        try {
          const { username } = JSON.parse(site.session_json);
          const jar = new Jar(demo.url, old(site));
          const { body, set } = await jar.get('/api/me');
          assert.deepEqual([body.username, set.length], [username, 1]);
          assert.equal((await jar.post('/api/increment')).body.counter, 1);
          assert.equal((await new Jar(demo.url, { session: jar.cookies.get('session') }).me()).counter, 1);
          assert.equal((await jar.post('/api/logout')).status, 200);
          assert.equal((await jar.me()).username, null, 'the old cookie is still there, and worth nothing');
        } finally {
          await demo.stop();
        }
      });
    }
  }

  test('forged ones, and those that anyone can make with the public default secret, are no cookies', async () => {
    const [good, open] = [recorded('kdf-unicode'), recorded('plain-unicode')];
    const forged = { ...good, cookie_value: `${good.cookie_value.slice(0, 40)}AAAA${good.cookie_value.slice(44)}` };
    for (const site of [forged, open]) {
      const demo = await start(null, site, { store: 'memory' });
      try {
        const { status, body, set } = await new Jar(demo.url, old(site)).get('/api/me');
        assert.deepEqual([status, body.username, set], [200, null, []]);
      } finally {
        await demo.stop();
      }
    }
  });
});

test('options that contradict each other stop the demo before it listens', async () => {
  const env = { SESSION_SECRET: SECRET, CRYSTAL_SESSION_SECRET: undefined };
  for (const [args, status] of [
    [['--crystal-until', 'soon'], 2],
    [['--crystal-encrypted'], 2],
    [['--crystal-until', FUTURE, '--crystal-encrypted'], 1],
  ]) {
    await assert.rejects(startDemo(args, env), new RegExp(`exit status ${status}`));
  }
});
