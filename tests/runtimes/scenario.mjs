/**
 * What has to hold in every runtime, as a list of named checks. Plain JavaScript that imports nothing of the package: each runtime brings it under its
 * own name, and the vectors.
 */
import { importChecks } from './import-scenario.mjs';

/**
 * Runs the checks against the package: `api` has what `session-edge` and `session-edge/import` export, `data` is what `data.mjs` has. Gives names,
 * failures, and sessions for Rust to open.
 */
export async function report(api, data) {
  const passed = [];
  const failed = [];
  for (const [name, check] of Object.entries({ ...checks, ...importChecks })) {
    try {
      await check(api, data);
      passed.push(name);
    } catch (error) {
      failed.push(`${name}: ${error?.stack ?? error}`);
    }
  }
  return { passed, failed, samples: failed.length > 0 ? [] : await samples(api, data) };
}

const checks = {
  'every token of the vectors opens': (api, { tokens }) => {
    for (const vector of tokens.tokens) {
      const sessions = reader(api, vector);
      const cookie = `${vector.cookie}=${vector.token}`;
      if (vector.kind === 'record') continue;
      const said = parse(vector.payload);
      const sealingAlone = said === undefined; // The payload is none: sealing is what that vector is about.
      if (vector.kind === 'reference') {
        if (sealingAlone) continue;
        const verified = sessions.verify(cookie);
        equal(verified.valid, true, vector.id);
        equal(verified.subject, said.subject, vector.id);
        equal(verified.expiresAt.getTime(), time(vector.expires_at), vector.id);
        equal(sessions.load(cookie).rejected, 'wrong-cookie', vector.id);
        continue;
      }
      equal(sessions.verify(cookie).rejected, 'wrong-cookie', vector.id);
      const session = sessions.load(cookie);
      if (sealingAlone) continue;
      equal(session.rejected, null, vector.id);
      equal(JSON.stringify(session.data), JSON.stringify(said.data), vector.id);
      equal(session.subject, said.subject, vector.id);
      // `Date` ends in the year 275760.
      equal(session.expiresAt.getTime(), new Date(time(vector.expires_at)).getTime(), vector.id);
    }
  },

  'every token that must be refused is, for the same reason': (api, { rejected }) => {
    let checked = 0;
    for (const vector of rejected.tokens) {
      const setup = { ...rejected.reader, ...vector };
      // Names that can't be configured, and what can't stand in a Cookie header as one value, are for Rust's tests alone.
      if (setup.kind === 'record' || setup.cookie === '' || (/^__host-/i.test(setup.cookie) && !setup.cookie.startsWith('__Host-'))) continue;
      if (/[;\s"]|[^\x20-\x7e]/.test(vector.token)) continue;
      checked += 1;
      const sessions = reader(api, setup);
      const cookie = `${setup.cookie}=${vector.token}`;
      const found = setup.kind === 'reference' ? sessions.verify(cookie).rejected : sessions.load(cookie).rejected;
      equal(found, vector.rejection, vector.id);
    }
    equal(checked > 150, true, checked);
  },

  'sessions that Rust sealed open, with all that is in them': (api, { secret, sealed }) => {
    const sessions = api.createSessions({ secret });
    for (const [index, { token, subject, notice, key, data }] of sealed.entries()) {
      const session = sessions.load(`${sessions.cookieName}=${token}`);
      equal(session.rejected, null, index);
      equal(session.subject, subject, index);
      equal(session.key, key, index);
      equal(canonical(session.data), canonical(data), index);
      equal(session.flash.get('notice'), notice, index);
    }
    equal(sealed.length, 1000);
  },

  'a read sends nothing, whoever wrote the session': async (api, { secret, sealed, sealedAt }) => {
    // However long ago that was: later, sessions slide.
    const sessions = api.createSessions({ secret, now: () => sealedAt });
    for (const { token } of sealed.slice(0, 200)) {
      const session = sessions.load(`${sessions.cookieName}=${token}`);
      void session.data;
      void session.subject;
      equal(await sessions.setCookie(session), null);
    }
  },

  'a session lives from request to request': async (api, { secret }) => {
    const sessions = api.createSessions({ secret });
    const first = sessions.load(new Request('https://example.com/'));
    equal(first.isNew, true);
    equal(first.rejected, null);
    equal((await sessions.commit(first, new Response('x'))).headers.get('set-cookie'), null);
    first.data.visits = 1;
    first.authenticate('42');
    first.flash.set('notice', 'Grüße 🎉');
    // Pages and service workers can't make responses that set cookies: the standard forbids it.
    const forbidden = !new Response(null, { headers: { 'set-cookie': 'a=b' } }).headers.has('set-cookie');
    let line;
    if (forbidden) {
      line = await sessions.setCookie(first);
    } else {
      const response = await sessions.commit(first, new Response('body', { status: 201 }));
      equal(response.status, 201);
      equal(await response.text(), 'body');
      equal(response.headers.get('cache-control'), 'no-store');
      equal(response.headers.get('vary'), 'Cookie');
      line = response.headers.get('set-cookie');
    }
    const second = sessions.load(cookieOf(line));
    equal(second.isNew, false);
    equal(second.subject, '42');
    equal(second.data.visits, 1);
    equal(second.flash.get('notice'), 'Grüße 🎉');
    const third = sessions.load(cookieOf(await sessions.setCookie(second)));
    equal(third.flash.get('notice'), null);
    third.destroy();
    equal((await sessions.setCookie(third)).includes('Max-Age=0'), true);
  },

  'large sessions fit up to the limit of a cookie, by whichever way they are sealed': async (api, { secret }) => {
    const sessions = api.createSessions({ secret });
    for (const length of [600, 700, 800, 1500, 2600]) {
      const session = sessions.load(null);
      session.data.text = 'é'.repeat(length / 2);
      const loaded = sessions.load(cookieOf(await sessions.setCookie(session)));
      equal(loaded.data.text, 'é'.repeat(length / 2));
    }
    const session = sessions.load(null);
    session.data.text = 'x'.repeat(5000);
    const error = await sessions.setCookie(session).catch((error) => error);
    equal(error instanceof api.CookieTooLargeError && error.actual > error.limit && error.limit === 4096, true, error);
  },

  'compressed sessions are smaller, and open': async (api, { secret }) => {
    const sessions = api.createSessions({ secret, compress: true });
    const session = sessions.load(null);
    session.data.list = Array.from({ length: 100 }, (_, id) => ({ id, name: 'item' }));
    const cookie = cookieOf(await sessions.setCookie(session));
    // Where the runtime can't deflate (edge-runtime), sessions stay as they are.
    if (typeof CompressionStream === 'function') equal(cookie.length < JSON.stringify(session.data).length / 2, true, cookie.length);
    equal(sessions.load(cookie).data.list.length, 100);
  },

  'a passphrase is derived as in Rust': async (api, { secrets }) => {
    const vector = secrets.accepted.find(({ kdf }) => kdf?.iterations === 100_000);
    const kdf = { salt: vector.kdf.salt, iterations: vector.kdf.iterations };
    const derived = await api.deriveSessions({ secret: vector.text, kdf });
    const raw = Uint8Array.from(vector.secret.match(/../g), (byte) => parseInt(byte, 16));
    const same = api.createSessions({ secret: `sk1_${base64url(raw)}` });
    const session = derived.load(null);
    session.data.derived = true;
    equal(same.load(cookieOf(await derived.setCookie(session))).data.derived, true);
  },

  'hostile cookies leave the instance as it was': async (api, { secret }) => {
    const sessions = api.createSessions({ secret });
    const session = sessions.load(null);
    session.data.good = true;
    const good = cookieOf(await sessions.setCookie(session));
    const token = good.slice(good.indexOf('=') + 1);
    for (let round = 0; round < 2000; round++) {
      const at = (round * 7919) % token.length;
      const bad = token.slice(0, at) + 'AB_-%"\u00e9=; '[round % 9] + token.slice(at + (round % 3));
      if (bad !== token) equal(sessions.load(`${sessions.cookieName}=${bad}`).data.good, undefined, round);
    }
    equal(sessions.load(good).data.good, true);
    equal(sessions.load(`${'a=b; '.repeat(200_000)}${good}`).data.good, true);
    equal(sessions.load(good).data.good, true);
  },
};

/** A thousand random sessions, for Rust to open. */
async function samples(api, { secret }) {
  const sessions = api.createSessions({ secret });
  const made = [];
  for (let index = 0; index < 1000; index++) {
    const session = sessions.create();
    Object.assign(session.data, object(3));
    const subject = chance() ? `u${text(12)}` : null;
    const notice = chance() ? text(40) : null;
    if (subject !== null) session.authenticate(subject);
    if (notice !== null) session.flash.set('notice', notice);
    const cookie = cookieOf(await sessions.setCookie(session));
    made.push({ token: cookie.slice(cookie.indexOf('=') + 1), subject, notice, key: session.key, data: session.data });
  }
  return made;
}

function object(depth) {
  return Object.fromEntries(
    Array.from({ length: below(5) }, () => {
      const kind = below(6);
      if (kind === 0) return [text(8), null];
      if (kind === 1) return [text(8), chance()];
      if (kind === 2) return [text(8), below(2 ** 31) - 2 ** 30];
      if (kind === 3) return [text(8), below(256) / 8];
      return [text(8), depth === 0 ? text(20) : kind === 4 ? object(depth - 1) : [object(depth - 1), text(3)]];
    }),
  );
}

function text(most) {
  const one = () => [below(128), below(128), 0x1f600 + below(64), below(0xd800)][below(4)];
  return String.fromCodePoint(...Array.from({ length: below(most) }, one));
}

const below = (limit) => Math.floor(Math.random() * limit);
const chance = () => below(2) === 1;

function reader(api, { secrets: [secret, ...previousSecrets], cookie: name, now }) {
  const cookie = name.startsWith('__') ? { name } : { name, secure: false };
  return api.createSessions({ secret, previousSecrets, cookie, now: () => time(now) });
}

/** The vectors' times go up to 2^64-1; those of JavaScript are exact up to 2^53. */
const time = (value) => Number(value);
const cookieOf = (line) => line.split(';')[0];
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** Of a payload, what the checks compare. */
function parse(payload) {
  const [, attributes, ...data] = payload.split('\n');
  if (attributes === undefined) return undefined;
  const { sub: subject = null } = attributes === '' ? {} : JSON.parse(attributes);
  return { subject, data: data.length === 0 ? undefined : JSON.parse(data.join('\n')) };
}

/** JSON with sorted keys: objects that are equal as trees. */
const canonical = (value) =>
  JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

function equal(actual, expected, what = '') {
  if (!Object.is(actual, expected)) throw new Error(`${what}: got ${String(actual)}, expected ${String(expected)}`);
}
