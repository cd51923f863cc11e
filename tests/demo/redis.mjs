// A Redis server of the tests' own.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * Starts a server that listens on a socket in a new directory alone, and waits until it is ready.
 *
 * @param {{ dump?: string }} [options] `dump` is a file that a server's SAVE wrote: what this one begins with
 * @returns {Promise<{ url: string, dump: string, ask: (...command: (string | Buffer)[]) => string, stop: () => Promise<void> }>} `ask` sends a command, whose
 *   last argument alone may be bytes, and gives what `redis-cli` prints; `dump` is where SAVE writes
 */
export async function startRedis({ dump } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'session-demo-'));
  const saved = join(directory, 'dump.rdb');
  if (dump) await copyFile(dump, saved);
  const socket = join(directory, 'redis.sock');
  const program = process.env.REDIS_SERVER ?? 'redis-server';
  const server = spawn(program, ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  // A test run that breaks off leaves no server behind.
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  for await (const line of createInterface({ input: server.stdout })) {
    if (!/ready to accept connections/i.test(line)) continue;
    server.stdout.resume();
    const stop = async () => {
      kill();
      await ended;
      process.removeListener('exit', kill);
      await rm(directory, { recursive: true });
    };
    const ask = (...command) => {
      const input = command.pop();
      return execFileSync(program.replace(/server$/, 'cli'), ['-s', socket, '-x', ...command], { input }).toString().trimEnd();
    };
    return { url: `redis+unix://${socket}`, dump: saved, ask, stop };
  }
  throw new Error(`${program} ended before it was ready`);
}
