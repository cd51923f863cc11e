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
 * @returns {Promise<import('playwright-core').Browser>} to be closed with `await browser.close()`
 */
export function launchChromium() {
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
    ],
  });
}

/**
 * Starts the demo on a free port and waits until it says where it listens: the line `listening on http://127.0.0.1:PORT`.
 *
 * @param {{ program?: string, args?: string[], env?: Record<string, string> }} [options] another program, arguments,
 *   variables added to the environment (`PORT` is 0: any free port)
 * @returns {Promise<{ url: string, stop: () => Promise<void> }>} `stop` ends the demo and waits until it has ended
 */
export async function startDemo({ program = DEMO, args = [], env = {} } = {}) {
  accessSync(program, constants.X_OK);
  const demo = spawn(program, args, {
    env: { ...process.env, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(demo, 'exit');
  // A test run that breaks off leaves no server behind.
  const kill = () => demo.kill('SIGKILL');
  process.once('exit', kill);

  const lines = createInterface({ input: demo.stdout });
  for await (const line of lines) {
    const url = /^listening on (http:\/\/127\.0\.0\.1:\d+)\/?$/.exec(line)?.[1];
    if (url === undefined) continue;
    demo.stdout.resume(); // What it says later is read, so that it never waits for a reader.
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
