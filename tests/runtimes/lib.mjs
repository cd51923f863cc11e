/** What the tests of the runtimes share: the installed package, the Rust side, processes and ports. */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

export const here = import.meta.dirname;
export const root = join(here, '../..');
export const secret = 'sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';
export const bin = (name) => join(here, 'node_modules/.bin', name);

/** Runs a program of Rust's side of the exchange. */
function exchange(args, input) {
  return execFileSync('cargo', ['run', '--quiet', '--locked', '--package', 'session-wasm', '--example', 'exchange', '--', ...args], {
    cwd: root,
    env: { ...process.env, SESSION_SECRET: secret },
    input,
    maxBuffer: 1 << 28,
    stdio: ['pipe', 'pipe', 'inherit'],
  }).toString();
}

/** Fails unless a runtime's report is without failures, and Rust opens all the sessions that it sealed. */
export function verify({ passed, failed, samples }) {
  if (failed.length > 0) throw new Error(`${failed.length} checks failed:\n${failed.join('\n')}`);
  assert.equal(passed.length, 13, 'checks that ran');
  assert.equal(exchange(['open'], JSON.stringify(samples)).trim(), '1000', 'sessions that Rust opened');
}

/**
 * Puts the package where `import 'session-edge'` finds it, as npm would: the files of its tarball, not a link to the sources. And writes the
 * vectors and a thousand sessions that Rust sealed into `data.mjs`.
 */
export function prepare() {
  const installed = join(here, 'node_modules/session-edge');
  const js = join(root, 'js');
  rmSync(installed, { recursive: true, force: true });
  mkdirSync(installed, { recursive: true });
  const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', tmpdir()], { cwd: js, stdio: ['ignore', 'pipe', 'ignore'] }));
  const tarball = join(tmpdir(), filename);
  execFileSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  rmSync(tarball);
  const vectors = (name) => readFileSync(join(root, `tests/vectors/${name}.json`), 'utf8').replace(/(:\s*)(\d{16,})/g, '$1"$2"');
  const data = ['tokens', 'rejected', 'secrets'].map((name) => `  ${name}: ${JSON.stringify(JSON.parse(vectors(name)))},`);
  const { cases: crystal } = JSON.parse(readFileSync(join(root, 'tests/vectors/crystal/cookie_store.json'), 'utf8'));
  const imports = [`  iron: ${readFileSync(join(root, 'tests/vectors/iron.json'), 'utf8')},`, `  crystal: ${JSON.stringify(crystal)},`];
  const sealed = exchange(['seal', '1000']).trim();
  writeFileSync(
    join(here, 'data.mjs'),
    `export const data = {\n  secret: '${secret}',\n${[...data, ...imports].join('\n')}\n  sealed: ${sealed},\n  sealedAt: ${Date.now()},\n};\n`,
  );
}

/** A port that was free a moment ago, on loopback. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs a program to its end, and gives what it printed. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8');
    child.stderr.setEncoding('utf8');
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${command} ${args.join(' ')} ended with ${code}\n${out}\n${err}`))));
  });
}

/** Starts a server, waits until it answers on `port`, and ends it with the test `t`. */
export async function serve(t, command, args, port, options = {}) {
  const child = spawn(command, args, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  let ended = false;
  child.once('close', () => (ended = true));
  t.after(() => {
    // The whole group: npm's launchers have children.
    if (!ended) process.kill(-child.pid, 'SIGKILL');
  });
  const origin = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 600; attempt++) {
    if (ended) throw new Error(`${command} ended:\n${output}`);
    const answered = await fetch(origin).then((response) => response.body?.cancel().then(() => true) ?? true, () => false);
    if (answered) return { origin, output: () => output };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${command} does not answer:\n${output}`);
}

/** A copy of an application in a directory that git ignores, so that nothing is built into the tree. Not below `node_modules`: bundlers don't compile JSX there. */
export function scratch(name) {
  const directory = join(here, '.apps', name);
  rmSync(directory, { recursive: true, force: true });
  cpSync(join(here, 'apps', name), directory, { recursive: true });
  return directory;
}
