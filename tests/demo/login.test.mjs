// The demo as a person uses it, in Chromium, with either store.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import axe from 'axe-core';

import { launchChromium, startDemo } from './browser.mjs';

/** Pictures for people, not for git. */
const SHOTS = fileURLToPath(new URL('./shots/', import.meta.url));

for (const store of ['memory', 'cookie']) {
  describe(`sessions kept in: ${store}`, () => {
    let demo;
    let browser;

    before(async () => {
      await mkdir(SHOTS, { recursive: true });
      demo = await startDemo(['--store', store], { SESSION_SECRET: '', SESSION_PREVIOUS_SECRETS: '' });
      browser = await launchChromium();
    });
    after(async () => {
      await browser?.close();
      await demo?.stop();
    });

    /** A visitor of their own: no cookies are shared. */
    const visitor = async () => {
      const context = await browser.newContext({ baseURL: demo.url });
      const page = await context.newPage();
      return { context, page };
    };
    const signIn = async (page, name) => {
      await page.goto('/login');
      await page.getByLabel('Name').fill(name);
      await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
      await page.waitForURL('/');
    };
    const sessionCookie = async (context) => (await context.cookies()).find(({ name }) => name === 'session');
    const shot = (page, name) => page.screenshot({ path: `${SHOTS}${store}-${name}.png`, fullPage: true });

    test('a visitor gets no cookie before there is something to keep', async () => {
      const { context, page } = await visitor();
      for (const path of ['/', '/cart', '/login', '/inspect']) {
        await page.goto(path);
        assert.deepEqual(await context.cookies(), [], path);
      }
      assert.match(await page.textContent('footer'), /no cookie is set/);
    });

    test('signing in, a message shown once, signing out', async () => {
      const { context, page } = await visitor();
      await signIn(page, 'Ada');
      assert.equal(await page.getByRole('status').first().textContent(), 'Welcome, Ada.');
      assert.match(await page.textContent('main'), /signed in as Ada/);
      assert.match(await page.textContent('footer'), /ends in 30 min .* 24 h 0 min/);
      await shot(page, 'home');
      await page.reload();
      assert.equal(await page.getByRole('status').count(), 0);

      const cookie = await sessionCookie(context);
      assert.equal(cookie.httpOnly, true);
      assert.equal(cookie.sameSite, 'Lax');
      assert.equal(await page.evaluate(() => document.cookie), '', 'hidden from scripts');

      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL('/');
      assert.match(await page.textContent('main'), /not signed in/);
      assert.equal(await sessionCookie(context), undefined);

      // Somebody kept a copy of the cookie.
      await context.addCookies([cookie]);
      await page.goto('/');
      assert.match(await page.textContent('main'), /not signed in/);
    });

    test('a page that needs a sign-in comes after it', async () => {
      const { page } = await visitor();
      await page.goto('/profile?from=mail');
      assert.equal(new URL(page.url()).pathname, '/login');
      await page.getByLabel('Name').fill('Grace');
      await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
      await page.waitForURL('/profile?from=mail');

      await page.getByLabel('Display name').fill('Grace <b>Hopper</b>');
      await page.getByLabel('Send me the newsletter').check();
      await page.getByRole('button', { name: 'Save' }).click();
      await page.waitForURL('/profile');
      assert.equal(await page.getByRole('status').first().textContent(), 'Your profile is saved.');
      await shot(page, 'profile');
      await page.reload();
      assert.equal(await page.getByLabel('Display name').inputValue(), 'Grace <b>Hopper</b>');
      assert.equal(await page.getByLabel('Send me the newsletter').isChecked(), true);
    });

    test('a sign-in page is no way to another site', async () => {
      const { page } = await visitor();
      await page.goto('/login?redirect_to=//evil.example/');
      await page.getByLabel('Name').fill('Ada');
      await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
      await page.waitForURL('/');
    });

    test('the cart', async () => {
      const { page } = await visitor();
      await signIn(page, 'Ada');
      await page.goto('/cart');
      await page.getByRole('button', { name: 'One more of plums' }).click();
      await page.getByRole('button', { name: 'One more of plums' }).click();
      assert.equal(await page.textContent('[data-article=plums]'), '2');
      await page.getByRole('button', { name: 'One less of plums' }).click();
      assert.equal(await page.textContent('[data-article=plums]'), '1');

      await page.getByRole('button', { name: 'Race' }).click();
      await page.waitForFunction(() => document.getElementById('race-result').textContent.includes('lost'));
      await shot(page, 'cart');
      const result = await page.textContent('#race-result');
      if (store === 'memory') {
        assert.equal(result, '20 requests, 0 failed, 0 changes lost');
        assert.deepEqual(await page.locator('[data-article]').allTextContents(), ['5', '5', '6', '5']);
      } else {
        // Each answer carries the whole session: the last one wins, as the documentation says.
        assert.match(result, /^20 requests, 0 failed, \d+ changes lost$/);
      }
    });

    test('what the cookie holds is sealed', async () => {
      const { context, page } = await visitor();
      await signIn(page, 'Secretive');
      await page.goto('/inspect');
      const token = (await sessionCookie(context)).value;
      const text = await page.textContent('main');
      assert.ok(text.includes(token));
      assert.ok(!Buffer.from(token, 'base64url').includes('Secretive'));
      assert.match(text, /"subject": "Secretive"/);
      assert.match(text, store === 'memory' ? /a reference to a session/ : /the whole session/);
      await shot(page, 'inside');
    });

    test('where I am signed in, and ending it', async () => {
      const [here, there, elsewhere] = await Promise.all([visitor(), visitor(), visitor()]);
      for (const { page } of [here, there, elsewhere]) await signIn(page, 'Linus');
      const signedIn = async ({ page }) => {
        await page.goto('/');
        return /signed in as Linus/.test(await page.textContent('main'));
      };
      await here.page.goto('/sessions');
      await shot(here.page, 'sessions');
      if (store === 'memory') {
        const rows = here.page.locator('tbody tr');
        assert.equal(await rows.count(), 3);
        assert.equal(await rows.filter({ hasText: 'this one' }).count(), 1);

        await rows.getByRole('button', { name: 'Sign out' }).first().click();
        assert.equal(await here.page.getByRole('status').first().textContent(), 'That session is signed out.');
        assert.equal(await rows.count(), 2);
        assert.equal([await signedIn(there), await signedIn(elsewhere)].filter(Boolean).length, 1);

        await here.page.getByRole('button', { name: 'Sign out everywhere else' }).click();
        assert.equal(await here.page.getByRole('status').first().textContent(), 'Signed out everywhere else: 1.');
        assert.deepEqual([await signedIn(there), await signedIn(elsewhere)], [false, false]);
        assert.equal(await signedIn(here), true);
        await here.page.goto('/sessions');
      } else {
        assert.match(await here.page.textContent('main'), /nobody keeps a list/);
      }
      await here.page.getByRole('button', { name: 'Sign out everywhere', exact: true }).click();
      await here.page.waitForURL('/');
      for (const each of [here, there, elsewhere]) assert.equal(await signedIn(each), false);
    });

    test('every page is accessible', async () => {
      const { page } = await visitor();
      await signIn(page, 'Ada');
      for (const path of ['/', '/login', '/cart', '/profile', '/sessions', '/inspect']) {
        for (const colorScheme of ['light', 'dark']) {
          await page.emulateMedia({ colorScheme });
          await page.goto(path);
          await page.evaluate(axe.source);
          const { violations } = await page.evaluate(() => globalThis.axe.run());
          const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(', ')}`);
          assert.deepEqual(found, [], `${path} (${colorScheme})`);
        }
      }
    });
  });
}
