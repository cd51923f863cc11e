/**
 * A Next.js site and a Rust service (native/examples/beside_next.rs) share one session: by iron-session's own cookie, by ours, and on the way from the one to the
 * other. Needs the built package, js/dist; Next.js of ../runtimes; and `cargo`, or BESIDE_NEXT, the built example.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { bin, freePort, here as runtimes, root, run } from '../runtimes/lib.mjs';

const env = {
  ...process.env,
  SESSION_SECRET: 'sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8',
  IRON_PASSWORD: 'the-password-that-iron-session-was-given',
  NEXT_TELEMETRY_DISABLED: '1',
  NODE_ENV: 'production',
};

/** What ends the servers. */
const ends = [];

/** Starts a server, and gives where it listens once a line says so. */
async function serve(command, args, says, options = {}) {
  const server = spawn(command, args, { env, cwd: root, stdio: ['ignore', 'pipe', 'inherit'], detached: true, ...options });
  const ended = once(server, 'exit');
  ends.push(async () => {
    // The whole group: npm's launchers and cargo have children.
    if (server.exitCode === null && server.signalCode === null) process.kill(-server.pid, 'SIGKILL');
    await ended;
  });
  for await (const line of createInterface({ input: server.stdout })) {
    const found = says.exec(line);
    if (found === null) continue;
    server.stdout.resume();
    return found[1];
  }
  throw new Error(`${command} ended before it said where it listens`);
}

/** The site, with the packages as npm would install them. Below `../runtimes`, where Next.js is found. */
async function startNext() {
  const cwd = join(runtimes, '.apps', 'beside-rust');
  rmSync(cwd, { recursive: true, force: true });
  cpSync(join(import.meta.dirname, 'apps/next'), cwd, { recursive: true });
  cpSync(join(import.meta.dirname, 'node_modules'), join(cwd, 'node_modules'), { recursive: true });
  const installed = join(cwd, 'node_modules/session-edge');
  mkdirSync(installed);
  const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', tmpdir()], { cwd: join(root, 'js'), stdio: ['ignore', 'pipe', 'ignore'] }));
  execFileSync('tar', ['-xzf', join(tmpdir(), filename), '--strip-components=1', '-C', installed]);
  rmSync(join(tmpdir(), filename));
  await run(bin('next'), ['build'], { cwd, env });
  return serve(bin('next'), ['start', '--port', `${await freePort()}`, '--hostname', '127.0.0.1'], /(http:\/\/127\.0\.0\.1:\d+)/, { cwd });
}

function startRust() {
  const [command, ...args] = env.BESIDE_NEXT?.split(' ') ?? ['cargo', 'run', '--quiet', '--locked', '--package', 'session-native', '--all-features', '--example', 'beside_next'];
  return serve(command, args, /^listening on (http:\S+)$/);
}

let next, rust;
before(async () => {
  [next, rust] = await Promise.all([startNext(), startRust()]);
});
after(() => Promise.all(ends.map((end) => end())));

/** A browser: its cookies are for both servers, which are one site. */
class Browser {
  cookies = new Map();

  async fetch(url, body) {
    const response = await fetch(url, {
      headers: { cookie: [...this.cookies].map((pair) => pair.join('=')).join('; '), 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      const gone = /; (Max-Age=0|Expires=Thu, 01 Jan 1970)/i.test(line);
      if (gone) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    assert.equal(response.status, 200, url);
    return response;
  }

  /** `[userId, visits]`, as a server sees them. */
  async see(url, body) {
    const { userId, visits } = await (await this.fetch(url, body)).json();
    return [userId, visits];
  }

  me = (server, way) => this.see(`${server}/${way}/me`);
  visit = (server, way) => this.see(`${server}/${way}/visit`, {});
  logout = (server, way) => this.see(`${server}/${way}/logout`, {});
  login = (server, way, userId) => this.see(server === rust ? `${rust}/${way}/login/${userId}` : `${next}/${way}/login`, { userId });
}

const NAMES = { iron: 'my-app', own: '__Host-session' };

for (const way of ['iron', 'own']) {
  test(`one cookie of ${way === 'iron' ? 'iron-session' : 'ours'}, read and written by both`, async () => {
    for (const [one, other] of [
      [next, rust],
      [rust, next],
    ]) {
      const browser = new Browser();
      assert.deepEqual(await browser.login(one, way, 42), [42, 0]);
      assert.deepEqual([...browser.cookies.keys()], [NAMES[way]]);
      assert.deepEqual(await browser.me(other, way), [42, 0], 'signed in at the other');
      assert.deepEqual(await browser.visit(other, way), [42, 1]);
      assert.deepEqual(await browser.visit(one, way), [42, 2], 'sees what the other wrote');
      assert.deepEqual(await browser.me(other, way), [42, 2]);
      assert.deepEqual([...browser.cookies.keys()], [NAMES[way]]);
      assert.deepEqual(await browser.logout(other, way), [null, 0]);
      assert.deepEqual([...browser.cookies.keys()], []);
      assert.deepEqual([await browser.me(one, way), await browser.me(other, way)], [[null, 0], [null, 0]]);
    }
  });
}

test('a page of the site knows whom Rust signed in', async () => {
  const browser = new Browser();
  await browser.login(rust, 'iron', 7);
  assert.match(await (await browser.fetch(next)).text(), /user:(<!-- -->)?7/);
});

test('who is signed in by iron-session at the site is signed in at the Rust service by that cookie, and both go on with ours', async () => {
  const browser = new Browser();
  await browser.login(next, 'iron', 42);
  await browser.visit(next, 'iron');
  assert.deepEqual(await browser.me(rust, 'own'), [42, 1]);
  assert.deepEqual([...browser.cookies.keys()], ['my-app', '__Host-session']);
  assert.deepEqual(await browser.visit(rust, 'own'), [42, 2]);
  assert.deepEqual(await browser.visit(next, 'own'), [42, 3], 'one session');
  assert.deepEqual([...browser.cookies.keys()], ['__Host-session'], 'the old cookie has had its day');
  assert.deepEqual(await browser.visit(rust, 'own'), [42, 4]);
});

test('the site takes it over first, and the Rust service knows the user', async () => {
  const browser = new Browser();
  await browser.login(next, 'iron', 42);
  assert.deepEqual(await browser.me(next, 'own'), [42, 0]);
  assert.deepEqual([...browser.cookies.keys()], ['__Host-session']);
  assert.deepEqual(await browser.visit(rust, 'own'), [42, 1]);
  assert.deepEqual(await browser.visit(next, 'own'), [42, 2]);
});

test('a sign-out at the Rust service is final, although the old cookie is still there', async () => {
  const browser = new Browser();
  await browser.login(next, 'iron', 42);
  await browser.me(rust, 'own');
  await browser.logout(rust, 'own');
  assert.deepEqual([...browser.cookies.keys()], ['my-app']);
  assert.deepEqual(await browser.me(rust, 'own'), [null, 0]);
});

test('what one of them did not seal, neither takes', async () => {
  const browser = new Browser();
  for (const way of ['iron', 'own']) {
    await browser.login(next, way, 42);
    const sealed = browser.cookies.get(NAMES[way]);
    const at = sealed.length - 20;
    browser.cookies.set(NAMES[way], sealed.slice(0, at) + (sealed[at] === 'A' ? 'B' : 'A') + sealed.slice(at + 1));
    assert.deepEqual([await browser.me(next, way), await browser.me(rust, way)], [[null, 0], [null, 0]]);
    browser.cookies.clear();
  }
});
