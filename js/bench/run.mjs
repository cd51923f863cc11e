/**
 * Measures session-edge beside its rivals: `npm run bench` (in js/), or `node js/bench/run.mjs [--smoke] [node deno bun workerd cold]`.
 *
 * Wants the built package (`npm run build`). Installs the rivals, a newer Node, and the runtimes of tests/runtimes. `--smoke` only shows that all of
 * it runs. workerd is measured by Linux' /proc.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';

const here = import.meta.dirname;
const runtimes = join(here, '../../tests/runtimes');
const bin = (name) => join(runtimes, 'node_modules/.bin', name);
const deno = [bin('deno'), 'run', '-A', '--node-modules-dir=manual'];
const newerNode = join(here, 'node_modules/.bin/node');

const smoke = process.argv.includes('--smoke');
const asked = process.argv.slice(2).filter((argument) => argument !== '--smoke');
const wanted = (name) => asked.length === 0 || asked.includes(name);

if (!existsSync(join(here, '../dist/index.js'))) throw new Error('there is no js/dist: run `npm run build` first');
for (const directory of [here, runtimes]) {
  const omit = smoke && directory === here ? ['--omit=optional'] : [];
  if (!existsSync(join(directory, 'node_modules/.package-lock.json'))) execFileSync('npm', ['ci', ...omit], { cwd: directory, stdio: 'ignore' });
}
// What needs the packages.
const { cold } = await import('./cold.mjs');
const { compare, effort } = await import('./measure.mjs');
const { cpuTime, startWorkerd } = await import('./workerd.mjs');
const nodes = [process.execPath, ...(existsSync(newerNode) ? [newerNode] : [])];

console.log(`${cpus().length} x ${cpus()[0].model}, ${process.platform} ${process.arch}; CPU µs an operation, lowest of ${effort(smoke).passes} passes\n`);
const version = (command, ...args) => execFileSync(command, [...args, '--version']).toString().match(/\d+\.\d+\.\d+/)[0];
if (wanted('node')) for (const node of nodes) report(`Node ${version(node)}`, await inScript(node));
if (wanted('deno')) report(`Deno ${version(deno[0])}`, await inScript(...deno));
if (wanted('bun')) report(`Bun ${version(bin('bun'))}`, await inScript(bin('bun')));
// Without and with `node:crypto`.
const workerd = `workerd ${createRequire(bin('x'))('workerd/package.json').version}`;
if (wanted('workerd')) report(workerd, await inWorkerd([]));
if (wanted('workerd')) report(`${workerd}, nodejs_compat`, await inWorkerd(['nodejs_compat']));
if (wanted('cold')) console.log(await cold(nodes, smoke ? 2 : 25));

async function inScript(command, ...args) {
  const child = spawn(command, [...args, join(here, 'local.mjs'), ...(smoke ? ['--smoke'] : [])], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  for await (const chunk of child.stdout) printed += chunk;
  return JSON.parse(printed);
}

async function inWorkerd(flags) {
  const { pid, origin, stop } = await startWorkerd('worker.mjs', flags);
  try {
    const names = await (await fetch(origin, { headers: { connection: 'close' } })).json();
    const time = async (name, operation, size, count) => {
      const before = cpuTime(pid);
      // A connection of its own: workerd closes one that was used for some seconds just when the next request may be on its way.
      const answer = await fetch(`${origin}?${new URLSearchParams({ name, operation, size, count })}`, { headers: { connection: 'close' } });
      if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
      await answer.text();
      return cpuTime(pid) - before;
    };
    // The process' clock ticks a hundred times a second.
    return await compare(names, time, { ...effort(smoke), ...(smoke ? {} : { budget: 400_000 }) });
  } finally {
    stop();
  }
}

/** A table of the lowest, with ratios to session-edge's. */
function report(runtime, results) {
  if (smoke) return console.log(`${runtime}: ${results.length} measurements`);
  const sizes = [...new Set(results.map(({ size }) => size))];
  const of = (name, operation, size) => results.find((result) => result.name === name && result.operation === operation && result.size === size);
  const number = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  const columns = ['open', 'seal'].flatMap((operation) => sizes.map((size) => [operation, size]));
  console.log(`| ${runtime} | ${columns.map(([operation, size]) => `${operation} ${size} B`).join(' | ')} |`);
  console.log(`|---|${'---:|'.repeat(columns.length)}`);
  for (const name of new Set(results.map((result) => result.name))) {
    const cells = columns.map(([operation, size]) => {
      const { lowest } = of(name, operation, size);
      const ratio = lowest / of('session-edge', operation, size).lowest;
      return name === 'session-edge' ? number(lowest) : `${number(lowest)} (${ratio.toFixed(1)}×)`;
    });
    console.log(`| ${name} | ${cells.join(' | ')} |`);
  }
  console.log('');
}
