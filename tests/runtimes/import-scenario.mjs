/**
 * What has to hold of `session-edge/import` in every runtime: every seal of iron-session and every cookie of the Crystal library `session` opens with
 * the runtime's own WebCrypto, and becomes a session. Checks as those of scenario.mjs; `api` has both entries of the package.
 */

export const importChecks = {
  'every seal of iron-session opens, and what it refuses is refused': async ({ openIron }, { iron }) => {
    for (const { id, passwords, sealed_at, json, seal } of iron.seals) {
      equal(JSON.stringify((await openIron(seal, { password: passwords, now: sealed_at })).fields), json, id);
    }
    for (const { id, at, seal, json, refused } of iron.judged) {
      const opened = await openIron(seal, { password: iron.passwords, now: at });
      if (refused === undefined) equal(JSON.stringify(opened.fields), json, id);
      else if (refused === 'invalid') equal(opened === 'malformed' || opened === 'forged', true, id);
      else equal(opened, refused, id);
    }
  },

  'every cookie of the Crystal library opens': async ({ openCrystal }, { crystal }) => {
    for (const { id, secret, use_kdf, kdf_iterations, kdf_salt, session_json, cookie_value, compress_data } of crystal) {
      const kdf = use_kdf ? { kdf: { iterations: kdf_iterations, salt: kdf_salt } } : {};
      const opened = await openCrystal(cookie_value, { secret, now: START, allowSha1Until: new Date(START + 1), ...kdf });
      // Where the runtime can't inflate (edge-runtime), what is deflated is refused.
      if (compress_data && typeof DecompressionStream === 'undefined' && opened === 'inflate') continue;
      equal(typeof opened === 'string' ? opened : new TextDecoder().decode(opened), session_json, id);
    }
    equal(crystal.length, 42);
  },

  'a mutated Crystal cookie is refused': async ({ openCrystal }, { crystal }) => {
    const { secret, cookie_value } = crystal.find(({ use_kdf }) => !use_kdf);
    for (const at of [0, 40, cookie_value.length >> 1, cookie_value.length - 8]) {
      const mutated = cookie_value.slice(0, at) + (cookie_value[at] === 'A' ? 'B' : 'A') + cookie_value.slice(at + 1);
      equal(typeof (await openCrystal(mutated, { secret, now: START, allowSha1Until: new Date(START + 1) })), 'string', at);
    }
  },

  'a seal becomes a session, and its cookie goes': async (api, { secret }) => {
    const { createSessions, importing, ironSession, sealIron } = api;
    const clock = { now: START };
    const now = () => clock.now;
    const password = 'a-password-of-at-least-32-characters';
    const sessions = createSessions({ secret, now });
    const from = ironSession({ cookieName: 'my-app', password });
    const moving = importing(sessions, { from, until: new Date(START + 60_000), subject: (data) => data.userId, now });
    const old = `my-app=${await sealIron({ userId: 42, name: 'Zoë 🎉' }, { password, now: START })}`;

    const session = await moving.load(`a=b; ${old}`);
    equal(session.subject, '42');
    equal(session.authenticatedAt, null, 'an import is no proof');
    const [line, removal, ...rest] = await moving.setCookies(session);
    equal(removal, 'my-app=; Path=/; Max-Age=0; Secure');
    equal(rest.length, 0);

    const own = sessions.load(line.split(';')[0]);
    equal(own.subject, '42');
    equal(own.authenticatedAt, null, 'nor later');
    equal(own.data.name, 'Zoë 🎉');
    equal((await moving.load(`my-app=${'x'.repeat(5000)}`)).subject, null, 'rubbish');
    clock.now = START + 60_000;
    equal((await moving.load(old)).subject, null, 'over at the end date');
  },
};

const START = 1_800_000_000_000;

function equal(actual, expected, what = '') {
  if (!Object.is(actual, expected)) throw new Error(`${what}: got ${String(actual)}, expected ${String(expected)}`);
}
