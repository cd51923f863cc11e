/** Writes tests/vectors/iron.json: seals of iron-session 8 and 9, and what version 9 says of altered ones. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as nine from 'iron-session';
import * as eight from 'iron-session-8';

const SEALED_AT = 1_800_000_000_000;
const DAY = 86_400;
const passwords = { 1: 'first-password-that-has-at-least-32-characters', 2: 'пароль из тридцати двух знаков и больше', 10: `"\\ 🔑 a password of every kind of character` };
let now = SEALED_AT;
Date.now = () => now;

const datas = {
  empty: {},
  user: { userId: 42, username: 'ada', isLoggedIn: true, roles: ['admin'] },
  unicode: { text: 'Zoë — 日本語 🎉 \u0000\u007f\u2028"\\' },
  numbers: { big: Number.MAX_SAFE_INTEGER, small: 1e-7, large: 1e21, negative: -0.5, nil: null },
  'block-15': { a: 'x'.repeat(7) },
  'block-16': { a: 'x'.repeat(8) },
  large: { text: 'lorem ipsum '.repeat(400) },
};
const seals = [];
for (const [library, { sealData }] of [['8.0.4', eight], ['9.0.1', nine]]) {
  for (const [name, data] of Object.entries(datas)) {
    const one = { 1: passwords[1] };
    seals.push({ id: `${library}-${name}`, library, passwords: one, ttl: 14 * DAY, sealed_at: now, json: JSON.stringify(data), seal: await sealData(data, { password: passwords[1] }) });
  }
  const data = datas.user;
  const json = JSON.stringify(data);
  seals.push({ id: `${library}-three-passwords`, library, passwords, ttl: 60, sealed_at: now, json, seal: await sealData(data, { password: passwords, ttl: 60 }) });
  seals.push({ id: `${library}-for-ever`, library, passwords, ttl: 0, sealed_at: now, json, seal: await sealData(data, { password: passwords, ttl: 0 }) });
}

const seal = await nine.sealData(datas.user, { password: passwords, ttl: 60 });
const parts = seal.split('*');
const replaced = (index, change) => parts.map((part, at) => (at === index ? change(part) : part)).join('*');
const flip = (text) => (text[0] === 'A' ? 'B' : 'A') + text.slice(1);
const altered = {
  unchanged: seal,
  'without-suffix': seal.slice(0, -2),
  'other-suffix': `${seal.slice(0, -1)}1`,
  'long-suffix': `${seal}~~{"persistent":1}`,
  'other-prefix': replaced(0, () => 'Fe26.1'),
  'other-password': replaced(1, () => '1'),
  'unknown-password': replaced(1, () => '7'),
  'no-password-id': replaced(1, () => ''),
  'other-salt': replaced(2, flip),
  'other-iv': replaced(3, flip),
  'other-ciphertext': replaced(4, flip),
  'later-expiry': replaced(5, (text) => `${text}0`),
  'no-expiry': replaced(5, () => ''),
  'expiry-of-zero': replaced(5, () => '0'),
  'expiry-in-words': replaced(5, () => 'never'),
  'other-mac-salt': replaced(6, flip),
  'no-mac-salt': replaced(6, () => ''),
  'other-mac': replaced(7, flip),
  'no-mac': replaced(7, () => '~2'),
  'seven-parts': parts.slice(0, 7).join('*'),
  'nine-parts': `${parts.slice(0, 7).join('*')}*x*${parts[7]}`,
  empty: '~2',
  rubbish: 'rubbish',
};
const judged = [];
for (const [id, text] of Object.entries(altered)) judged.push({ id, at: SEALED_AT, seal: text, ...(await judge(text)) });
for (const [id, at] of [['last-moment', SEALED_AT + 120_000 - 1], ['too-late', SEALED_AT + 120_000]]) {
  now = at;
  judged.push({ id, at, seal, ...(await judge(seal)) });
}

async function judge(text) {
  let refused = null;
  const data = await nine.unsealData(text, { password: passwords, ttl: 60, onUnsealError: (reason) => (refused = reason) });
  return refused === null ? { json: JSON.stringify(data) } : { refused };
}

const about = 'Made by tests/iron/vectors.mjs with the npm packages iron-session 8.0.4 and 9.0.1. `judged`: what version 9 says of a seal at a time, with `passwords`.';
writeFileSync(join(import.meta.dirname, '../vectors/iron.json'), `${JSON.stringify({ about, passwords, seals, judged }, null, 1)}\n`);
