/**
 * Cold start: CPU time from the import to the first verified cookie, each time in a new process, beyond what importing an empty module takes. In
 * workerd, where clocks stand still, it is what a worker takes from its start to its first answer beyond a worker that does nothing.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { sealData } from 'iron-session';
import { createSessions, generateSecret } from '../dist/index.js';
import { bundle, once } from './workerd.mjs';

const here = import.meta.dirname;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const milliseconds = (values) => `${Math.min(...values).toFixed(1)} / ${median(values).toFixed(1)}`;

/** @returns A table: lowest / median of so many rounds, in milliseconds. */
export async function cold(nodes, rounds) {
  const cookies = await madeCookies();
  const lines = ['| cold start, CPU ms, lowest / median | nothing | session-edge | iron-session 9 |', '|---|---:|---:|---:|'];
  for (const node of nodes) {
    const found = { empty: [], 'session-edge': [], 'iron-session': [] };
    for (let round = 0; round < rounds; round++) {
      for (const [name, values] of Object.entries(found)) {
        values.push(Number(execFileSync(node, [join(here, 'cold-node.mjs'), name, JSON.stringify(cookies)])));
      }
    }
    lines.push(row(`Node ${execFileSync(node, ['--version']).toString().trim().slice(1)}`, found));
  }
  lines.push(row('workerd', await coldWorkerd(cookies, rounds)));
  return lines.join('\n');
}

/** What both take beyond a module, or a worker, that does nothing. */
function row(runtime, found) {
  const beyond = (name) => [Math.min, (...values) => median(values)].map((of) => (of(...found[name]) - of(...found.empty)).toFixed(1)).join(' / ');
  return `| ${runtime} | ${milliseconds(found.empty)} | + ${beyond('session-edge')} | + ${beyond('iron-session')} |`;
}

async function madeCookies() {
  const [secret, password] = [generateSecret(), 'a password of more than thirty-two characters'];
  const sessions = createSessions({ secret });
  const session = sessions.create();
  session.data.userId = 12345;
  return { secret, cookie: (await sessions.setCookie(session)).split(';')[0], password, seal: await sealData({ userId: 12345 }, { password }) };
}

async function coldWorkerd(cookies, rounds) {
  const entries = { empty: 'cold-empty.mjs', 'session-edge': 'cold-edge.mjs', 'iron-session': 'cold-iron.mjs' };
  const found = {};
  const bundles = {};
  for (const [name, entry] of Object.entries(entries)) {
    found[name] = [];
    bundles[name] = await bundle(entry);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, directory] of Object.entries(bundles)) {
      const { answer, took } = await once(directory, JSON.stringify(cookies));
      found[name].push(took);
      if (answer !== '12345') throw new Error(`${name} said ${answer}`);
    }
  }
  for (const directory of Object.values(bundles)) rmSync(directory, { recursive: true });
  return found;
}
