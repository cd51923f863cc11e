// What browser tests need: Chromium, and the demo application.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

/** Chromium's program: `$CHROMIUM`, or where Debian puts it. */
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** The demo's program: `$SESSION_LOGIN_DEMO`, or where `cargo build --example login` puts it. */
const DEMO =
  process.env.SESSION_LOGIN_DEMO ?? fileURLToPath(new URL('../../target/debug/examples/login', import.meta.url));

/**
 * Starts Chromium with a new profile, which is removed when the browser is closed. One visitor is one
 * `await browser.newContext()`: contexts share no cookies.
 *
 * @param {string[]} [args] more arguments
 * @returns {Promise<import('playwright-core').Browser>} to be closed with `await browser.close()`
 */
export function launchChromium(args = []) {
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...args,
    ],
  });
}

/**
 * Starts the demo on a free port.
 *
 * @param {string[]} [args] more arguments, `['--store', 'cookie']` for example
 * @param {Record<string, string>} [env] variables added to the environment
 */
export function startDemo(args = [], env = {}) {
  return startServer(DEMO, ['--addr', '127.0.0.1:0', ...args], env);
}

/**
 * Starts a server and waits until it says where it listens: by the line `listening on http://127.0.0.1:PORT`.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {Record<string, string>} [env] variables added to the environment
 * @returns {Promise<{ url: string, stop: () => Promise<void> }>} `stop` ends the server and waits until it has ended
 */
export async function startServer(program, args, env = {}) {
  accessSync(program, constants.X_OK);
  const server = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  // A test run that breaks off leaves no server behind.
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);

  const lines = createInterface({ input: server.stdout });
  for await (const line of lines) {
    const url = /^listening on (http:\/\/127\.0\.0\.1:\d+)\/?$/.exec(line)?.[1];
    if (url === undefined) continue;
    server.stdout.resume(); // What it says later is read, so that it never waits for a reader.
    const stop = async () => {
      kill();
      await ended;
      process.removeListener('exit', kill);
    };
    return { url, stop };
  }
  const [code, signal] = await ended;
  process.removeListener('exit', kill);
  throw new Error(`${program} ended (${signal ?? `exit status ${code}`}) before it said where it listens`);
}
