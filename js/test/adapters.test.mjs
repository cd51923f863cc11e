import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { createSessions, generateSecret } from 'session-edge';
import { commitTo, loadFrom, withSession } from 'session-edge/next';
import { attachSession, sessionMiddleware } from 'session-edge/node';
import { sessionHandle } from 'session-edge/sveltekit';

const sessions = createSessions({ secret: generateSecret() });
const cookieOf = (line) => line.split(';')[0];

async function http(t, listener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

test('node: the cookie goes out with the headers, however they are sent', async (t) => {
  const origin = await http(t, (req, res) => {
    const session = attachSession(sessions, req, res);
    assert.equal(attachSession(sessions, req, res), session);
    res.setHeader('Vary', 'Accept');
    res.setHeader('Set-Cookie', 'a=1');
    if (req.url === '/read') return res.end(String(session.data.visits));
    if (req.url === '/nothing') return res.end();
    session.data.visits = (session.data.visits ?? 0) + 1;
    if (req.url === '/object') return res.writeHead(201, 'Made', { 'X-A': ['1', '2'], 'Set-Cookie': ['b=2', 'c=3'] }).end();
    if (req.url === '/array') return res.writeHead(201, ['X-A', '1', 'X-A', '2', 'Set-Cookie', 'b=2']).end();
    res.write('x');
    res.end();
  });
  for (const [path, others] of [['/', ['a=1']], ['/object', ['b=2', 'c=3']], ['/array', ['b=2']]]) {
    const response = await fetch(origin + path);
    const cookies = response.headers.getSetCookie();
    assert.deepEqual(cookies.slice(0, -1), others, path);
    assert.equal(response.headers.get('vary'), 'Accept, Cookie');
    assert.equal(response.headers.get('cache-control'), 'no-store');
    if (path !== '/') assert.equal(response.headers.get('x-a'), '1, 2');
    const read = await fetch(`${origin}/read`, { headers: { cookie: cookieOf(cookies.at(-1)) } });
    assert.equal(await read.text(), '1');
    assert.deepEqual([read.headers.getSetCookie(), read.headers.get('vary')], [['a=1'], 'Accept, Cookie']);
    assert.equal(read.headers.get('cache-control'), 'private');
  }
  const untouched = await fetch(`${origin}/nothing`);
  assert.deepEqual([untouched.headers.get('vary'), untouched.headers.get('cache-control')], ['Accept', null]);
});

test('node: behind a proxy, sessions are bound to the client and not to the proxy', async (t) => {
  const bound = createSessions({ secret: generateSecret(), clientBinding: { ip: true } });
  const middleware = sessionMiddleware(bound, (req) => ({ ip: req.headers['x-real-ip'] }));
  const origin = await http(t, (req, res) =>
    middleware(req, res, () => {
      req.session.data.visits = (req.session.data.visits ?? 0) + 1;
      res.end(String(req.session.data.visits));
    }),
  );
  const visit = (ip, cookie = '') => fetch(origin, { headers: { cookie, 'x-real-ip': ip } });
  const cookie = cookieOf((await visit('203.0.113.7')).headers.getSetCookie()[0]);
  assert.equal(await (await visit('203.0.113.7', cookie)).text(), '2');
  assert.equal(await (await visit('203.0.113.8', cookie)).text(), '1', 'the same proxy, another client');
});

test('node: a session that cannot be saved does not take the error page with it', async (t) => {
  const origin = await http(t, (req, res) => {
    const session = attachSession(sessions, req, res);
    session.data.text = 'x'.repeat(5000);
    try {
      res.end('saved');
    } catch (error) {
      res.statusCode = 413;
      res.end(error.code);
    }
  });
  const response = await fetch(origin);
  assert.deepEqual([response.status, await response.text(), response.headers.getSetCookie()], [413, 'cookie-too-large', []]);
});

test('sveltekit: the hook', async () => {
  const bound = createSessions({ secret: generateSecret(), clientBinding: { ip: true } });
  const handle = sessionHandle(bound);
  const visit = async (cookie, address) => {
    const event = { request: new Request('https://a.example/', { headers: { cookie } }), locals: {}, getClientAddress: () => address };
    const resolve = ({ locals }) => new Response(String((locals.session.data.visits = (locals.session.data.visits ?? 0) + 1)));
    return handle({ event, resolve });
  };
  const first = await visit('', '203.0.113.7');
  assert.equal(await first.text(), '1');
  const cookie = cookieOf(first.headers.get('set-cookie'));
  assert.equal(await (await visit(cookie, '203.0.113.7')).text(), '2');
  assert.equal(await (await visit(cookie, '203.0.113.8')).text(), '1');
  const open = sessionHandle(sessions);
  const getClientAddress = () => assert.fail('nobody asked for an address');
  await open({ event: { request: new Request('https://a.example/'), locals: {}, getClientAddress }, resolve: () => new Response() });
});

test('next: a cookie store', async () => {
  const jar = new Map();
  const store = { get: (name) => jar.get(name), set: (name, value, options) => jar.set(name, { value, options }) };
  const session = loadFrom(sessions, store);
  await commitTo(sessions, session, store);
  assert.equal(jar.size, 0);
  session.data.a = 1;
  await commitTo(sessions, session, store);
  const { options } = jar.get('__Host-session');
  assert.deepEqual(options, { path: '/', maxAge: 3600, httpOnly: true, secure: true, sameSite: 'lax', partitioned: false });
  const again = loadFrom(sessions, store);
  assert.equal(again.data.a, 1);
  again.destroy();
  await commitTo(sessions, again, store);
  assert.deepEqual([jar.get('__Host-session').value, jar.get('__Host-session').options.maxAge], ['', 0]);
});

test('next: a handler that answers with a plain Response', async () => {
  const handler = withSession(sessions, (request, session, extra) => {
    session.data.extra = extra;
    return new Response('x');
  });
  const response = await handler(new Request('https://a.example/'), 7);
  assert.equal(sessions.load(cookieOf(response.headers.get('set-cookie'))).data.extra, 7);
});

test('next: caches are told of a response that depends on the session', async () => {
  class NextResponse extends Response {
    cookies = { set: (name, value) => this.headers.append('set-cookie', `${name}=${value}`) };
  }
  const answer = async (handle, cookie = '') =>
    (await withSession(sessions, handle)(new Request('https://a.example/', { headers: { cookie } }))).headers;
  const written = await answer((_, session) => ((session.data.a = 1), new NextResponse()));
  assert.deepEqual([written.get('cache-control'), written.get('vary')], ['no-store', 'Cookie']);
  const read = (headers) => (_, session) => new NextResponse(String(session.data.a), { headers });
  const cookie = cookieOf(written.get('set-cookie'));
  const kept = await answer(read({}), cookie);
  assert.deepEqual([kept.get('cache-control'), kept.get('vary')], ['private', 'Cookie']);
  assert.equal((await answer(read({ 'cache-control': 'max-age=9' }), cookie)).get('cache-control'), 'max-age=9');
  assert.equal((await answer(() => new NextResponse(), cookie)).get('cache-control'), null);
});

test('next: a session that cannot be saved', async () => {
  const grow = (_, session) => {
    session.data.text = 'x'.repeat(5000);
    return new Response('made');
  };
  const request = new Request('https://a.example/');
  assert.equal((await withSession(sessions, grow)(request)).status, 413);
  const made = await withSession(sessions, grow, { onUnsaved: (_, response) => response })(request);
  assert.deepEqual([await made.text(), made.headers.get('set-cookie')], ['made', null]);
});
