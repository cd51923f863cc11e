/** A workerd of its own for a worker of this directory, as it would be deployed: bundled, with its compiled module beside it. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const here = import.meta.dirname;
const require = createRequire(join(here, '../../tests/runtimes/package.json'));
const { build } = require('esbuild');
const workerd = require('workerd').default;

/** Bundles `entry`, and gives the directory of what workerd needs. `flags` are compatibility flags. */
export async function bundle(entry, flags = []) {
  const directory = mkdtempSync(join(tmpdir(), 'session-bench-'));
  await build({
    entryPoints: [join(here, entry)],
    outfile: join(directory, 'worker.mjs'),
    bundle: true,
    minify: true,
    format: 'esm',
    conditions: ['workerd', 'worker', 'browser'],
    alias: { 'session-edge': join(here, '../dist/workerd.js') },
    loader: { '.wasm': 'copy' },
    external: ['node:*', 'cloudflare:*'],
    logLevel: 'warning',
  });
  const modules = readdirSync(directory).map((file) =>
    file.endsWith('.wasm') ? `(name = "./${file}", wasm = embed "${file}")` : `(name = "${file}", esModule = embed "${file}")`,
  );
  writeFileSync(
    join(directory, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [${modules.reverse().join(', ')}], compatibilityDate = "2026-01-01", compatibilityFlags = ${JSON.stringify(flags)}))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);
`,
  );
  return directory;
}

/** Starts workerd; `stop` ends it. By `command` another program starts it. */
export async function start(directory, command = []) {
  const [program, ...args] = [...command, workerd, 'serve', join(directory, 'config.capnp'), '--control-fd=3'];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit', 'pipe'], detached: true });
  const port = await new Promise((resolve, reject) => {
    let said = '';
    child.once('close', (code) => reject(new Error(`workerd ended with ${code}`)));
    child.stdio[3].on('data', (chunk) => {
      said += chunk;
      const listens = said.match(/"event":\s*"listen".*"port":\s*(\d+)/);
      if (listens) resolve(Number(listens[1]));
    });
  });
  return { child, pid: child.pid, origin: `http://127.0.0.1:${port}/`, stop: () => process.kill(-child.pid, 'SIGTERM') };
}

/** Runs a worker for one request: the answer, and the CPU milliseconds from the start of workerd to its end. */
export async function once(directory, body) {
  // The shell's `time` is what tells how much a child took, to a millisecond.
  const shell = ['bash', '-c', 'trap : TERM; TIMEFORMAT="%3U %3S"; { time "$0" "$@" 2>&4; } 4>&2 2>&1'];
  const { child, origin, stop } = await start(directory, shell);
  const answer = await (await fetch(origin, { method: 'POST', body })).text();
  stop();
  let times = '';
  for await (const chunk of child.stdout) times += chunk;
  const [user, system] = times.trim().split(' ').map(Number);
  return { answer, took: (user + system) * 1000 };
}

/** Both, for one use. */
export async function startWorkerd(entry, flags) {
  const directory = await bundle(entry, flags);
  const started = await start(directory);
  const stop = () => {
    started.stop();
    rmSync(directory, { recursive: true });
  };
  return { ...started, stop };
}

/** CPU microseconds that a process has used, to a hundredth of a second. */
export function cpuTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}
