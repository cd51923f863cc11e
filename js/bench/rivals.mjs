/**
 * What is measured: for each rival, `make(data)` gives two functions, `seal()` to a cookie's value and `open(value)` to the data. Both begin and end
 * with what an application has: an object, not bytes. Secrets are prepared before, where a rival's interface lets one.
 */
import { sealSession, unsealSession } from 'h3';
import { parseSigned, serializeSigned } from 'hono/utils/cookie';
import { decrypt, encrypt } from 'hono-sessions';
import { sealData, unsealData } from 'iron-session';
import { EncryptJWT, base64url, jwtDecrypt } from 'jose';

const password = 'a password of more than thirty-two characters';
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An object of which the JSON has `size` bytes. */
export function dataOf(size) {
  const data = { userId: 12345, role: 'editor', locale: 'en', cart: [], text: '' };
  for (let i = 0; JSON.stringify(data).length < size - 60; i++) data.cart.push({ sku: `B-${1000 + i}`, count: i % 5 });
  data.text = 'x'.repeat(size - JSON.stringify(data).length);
  return data;
}

/** @param edge The package session-edge, by the entry that the runtime would take. */
export function rivals(edge) {
  return {
    'session-edge': () => sessionEdge(edge),
    'iron-session 9': () => ({ seal: (data) => sealData(data, { password }), open: (value) => unsealData(value, { password }) }),
    'jose A256CBC-HS512': () => jose('A256CBC-HS512', 64),
    'jose A256GCM': () => jose('A256GCM', 32),
    'h3 useSession': h3,
    'hono signed cookie': hono,
    'hono-sessions': honoSessions,
    'WebCrypto CBC+HMAC': webCrypto,
    ...(nodeCrypto === undefined ? {} : { 'node:crypto CBC+HMAC': nodeCryptoSync }),
  };
}

/** The session is loaded and its data read; and a session is made, filled and committed into a `Set-Cookie` line. */
function sessionEdge({ createSessions, generateSecret }) {
  const sessions = createSessions({ secret: generateSecret() });
  const prefix = `${sessions.cookieName}=`;
  return {
    async seal(data) {
      const session = sessions.create();
      session.data = data;
      return sessions.setCookie(session);
    },
    open: (line) => sessions.load(line).data,
    // What the client sends back of the line.
    sent: (line) => line.slice(0, line.indexOf(';')),
    prefix,
  };
}

function jose(enc, bytes) {
  const key = crypto.getRandomValues(new Uint8Array(bytes));
  return {
    seal: (data) => new EncryptJWT({ data }).setProtectedHeader({ alg: 'dir', enc }).setExpirationTime('1h').encrypt(key),
    open: async (value) => (await jwtDecrypt(value, key)).payload.data,
  };
}

/** What `useSession` calls, without its event and its cookies. */
function h3() {
  const config = { password, maxAge: 3600 };
  return {
    seal: (data) => sealSession({ context: { sessions: { h3: { id: '1', createdAt: Date.now(), data } } } }, config),
    open: async (value) => (await unsealSession(null, config, value)).data,
  };
}

/** What `setSignedCookie` and `getSignedCookie` call. Not encrypted: whoever has the cookie reads it. */
function hono() {
  return {
    seal: (data) => serializeSigned('session', JSON.stringify(data), password, { httpOnly: true, secure: true, path: '/' }),
    open: async (line) => JSON.parse((await parseSigned(line, password, 'session')).session),
    sent: (line) => line.slice(0, line.indexOf(';')),
  };
}

/** What its `CookieStore` does, without its cookies and the hashes by which its middleware sees changes. */
function honoSessions() {
  const record = (data) => ({ _data: { data: { value: data, flash: false } }, _expire: null, _delete: false, _accessed: new Date().toISOString() });
  return {
    seal: (data) => encrypt(password, JSON.stringify(record(data))),
    open: async (value) => JSON.parse(await decrypt(password, value))._data.data.value,
  };
}

/** The least that an encrypted cookie costs by WebCrypto: no expiry, no key ids, no checks of the form. */
async function webCrypto() {
  const random = () => crypto.getRandomValues(new Uint8Array(32));
  const cipher = await crypto.subtle.importKey('raw', random(), 'AES-CBC', false, ['encrypt', 'decrypt']);
  const mac = await crypto.subtle.importKey('raw', random(), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);
  return {
    async seal(data) {
      const iv = crypto.getRandomValues(new Uint8Array(16));
      const ciphertext = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-CBC', iv }, cipher, encoder.encode(JSON.stringify(data))));
      const token = new Uint8Array(16 + ciphertext.length + 32);
      token.set(iv);
      token.set(ciphertext, 16);
      token.set(new Uint8Array(await crypto.subtle.sign('HMAC', mac, token.subarray(0, -32))), token.length - 32);
      return base64url.encode(token);
    },
    async open(value) {
      const token = base64url.decode(value);
      if (!(await crypto.subtle.verify('HMAC', mac, token.subarray(-32), token.subarray(0, -32)))) throw new Error('forged');
      const plain = await crypto.subtle.decrypt({ name: 'AES-CBC', iv: token.subarray(0, 16) }, cipher, token.subarray(16, -32));
      return JSON.parse(decoder.decode(plain));
    },
  };
}

const nodeCrypto = globalThis.process?.getBuiltinModule?.('node:crypto');

/** The same by OpenSSL (BoringSSL in Bun), synchronously. */
function nodeCryptoSync() {
  const { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } = nodeCrypto;
  const [key, macKey] = [randomBytes(32), randomBytes(32)];
  return {
    seal(data) {
      const iv = randomBytes(16);
      const cipher = createCipheriv('aes-256-cbc', key, iv);
      const sealed = Buffer.concat([iv, cipher.update(JSON.stringify(data), 'utf8'), cipher.final()]);
      return Buffer.concat([sealed, createHmac('sha256', macKey).update(sealed).digest()]).toString('base64url');
    },
    open(value) {
      const token = Buffer.from(value, 'base64url');
      if (!timingSafeEqual(createHmac('sha256', macKey).update(token.subarray(0, -32)).digest(), token.subarray(-32))) throw new Error('forged');
      const decipher = createDecipheriv('aes-256-cbc', key, token.subarray(0, 16));
      return JSON.parse(Buffer.concat([decipher.update(token.subarray(16, -32)), decipher.final()]).toString());
    },
  };
}
