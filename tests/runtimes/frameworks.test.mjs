/** Hono and Express, as installed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import express from 'express';
import { Hono } from 'hono';
import { createSessions, generateSecret } from 'session-edge';
import { session } from 'session-edge/hono';
import { sessionMiddleware } from 'session-edge/node';

const sessions = createSessions({ secret: generateSecret() });
const cookieOf = (response) => response.headers.getSetCookie().at(-1).split(';')[0];

test('Hono', async () => {
  const app = new Hono();
  app.use(session(sessions));
  app.get('/', (c) => c.text(String((c.get('session').data.visits = (c.get('session').data.visits ?? 0) + 1)), 200, { 'set-cookie': 'a=1', vary: 'Accept' }));
  app.get('/static', (c) => c.text('x'));
  app.get('/read', (c) => c.text(c.get('session').subject ?? 'nobody'));
  app.get('/proxied', (c) => {
    c.get('session').authenticate('ada');
    return Response.redirect('https://a.example/');
  });
  const first = await app.request('/');
  assert.equal(first.headers.getSetCookie().length, 2);
  assert.deepEqual([first.headers.get('vary'), first.headers.get('cache-control')], ['Accept, Cookie', 'no-store']);
  const headers = { cookie: cookieOf(first) };
  assert.equal(await (await app.request('/', { headers })).text(), '2');
  const untouched = await app.request('/static', { headers });
  assert.deepEqual([untouched.headers.getSetCookie(), untouched.headers.get('vary')], [[], null]);
  const read = await app.request('/read', { headers });
  assert.deepEqual([read.headers.getSetCookie(), read.headers.get('vary')], [[], 'Cookie']);
  const proxied = await app.request('/proxied', { headers });
  assert.equal(proxied.status, 302);
  assert.equal(await (await app.request('/read', { headers: { cookie: cookieOf(proxied) } })).text(), 'ada');
});

test('Express', async (t) => {
  const app = express();
  app.use(sessionMiddleware(sessions));
  app.get('/', (req, res) => res.json({ visits: (req.session.data.visits = (req.session.data.visits ?? 0) + 1) }));
  app.get('/large', (req, res) => {
    req.session.data.text = 'x'.repeat(5000);
    res.send('saved');
  });
  app.use((error, req, res, next) => res.status(413).send(error.code));
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const origin = `http://127.0.0.1:${server.address().port}`;
  const first = await fetch(origin);
  const second = await fetch(origin, { headers: { cookie: cookieOf(first) } });
  assert.deepEqual(await second.json(), { visits: 2 });
  const large = await fetch(`${origin}/large`);
  assert.deepEqual([large.status, await large.text()], [413, 'cookie-too-large']);
});
