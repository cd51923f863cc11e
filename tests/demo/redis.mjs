// A Redis server of the tests' own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * Starts a server that listens on a socket in a new directory alone, and waits until it is ready.
 *
 * @returns {Promise<{ url: string, stop: () => Promise<void> }>}
 */
export async function startRedis() {
  const directory = await mkdtemp(join(tmpdir(), 'session-demo-'));
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
    return { url: `redis+unix://${socket}`, stop };
  }
  throw new Error(`${program} ended before it was ready`);
}
