/**
 * Sealing by WebCrypto: the same bytes as `core/src/token` makes, for payloads so large that the runtime's native AES outweighs what
 * its asynchronous interface costs. `core/FORMAT.md` specifies them.
 */
import type { Provider } from './provider.js';

const encoder = new TextEncoder();
const VERSION = 1;
const COOKIE_HELD = 0;
const IV = 14;
const HEADER = 30;

/** The token of a payload. @internal */
export async function seal(provider: Provider, secret: string, payload: Uint8Array, expiresAt: number): Promise<string> {
  const keys = (provider.webKeys ??= await deriveKeys(secret));
  const { cookie, keyId } = provider.about;

  // One buffer: what is authenticated besides the token, then the token.
  const context = macContext(cookie);
  const ciphertext = (Math.floor(payload.length / 16) + 1) * 16;
  const message = new Uint8Array(context.length + HEADER + ciphertext);
  message.set(context);
  const token = message.subarray(context.length);
  const view = new DataView(message.buffer, context.length);
  token[0] = VERSION;
  token[1] = COOKIE_HELD;
  view.setUint32(2, parseInt(keyId, 16));
  view.setBigUint64(6, BigInt(expiresAt));
  const iv = crypto.getRandomValues(token.subarray(IV, HEADER));

  const encrypted = await crypto.subtle.encrypt({ name: 'AES-CBC', iv: iv as BufferSource }, keys.encryption, payload as BufferSource);
  token.set(new Uint8Array(encrypted), HEADER);
  const tag = await crypto.subtle.sign('HMAC', keys.authentication, message);
  return base64url(token, new Uint8Array(tag));
}

/** HKDF-SHA256 with the labels of `core/src/crypto/keys.rs`. The keys can't be read back. */
async function deriveKeys(secret: string): Promise<{ encryption: CryptoKey; authentication: CryptoKey }> {
  const random = Uint8Array.from(atob(secret.slice(4).replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const master = await crypto.subtle.importKey('raw', random, 'HKDF', false, ['deriveKey']);
  const hkdf = (info: string) => ({ name: 'HKDF', hash: 'SHA-256', salt: encoder.encode('session-token-v1'), info: encoder.encode(info) });
  return {
    encryption: await crypto.subtle.deriveKey(hkdf('encryption'), master, { name: 'AES-CBC', length: 256 }, false, ['encrypt']),
    authentication: await crypto.subtle.deriveKey(
      hkdf('authentication'),
      master,
      { name: 'HMAC', hash: 'SHA-256', length: 256 },
      false,
      ['sign'],
    ),
  };
}

/** What the tag covers before the token: the format's domain and the cookie's name, each with its length in front. */
function macContext(cookie: string): Uint8Array {
  const parts = [encoder.encode('session-token-v1'), encoder.encode(cookie)];
  const context = new Uint8Array(parts.reduce((length, part) => length + 4 + part.length, 0));
  const view = new DataView(context.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length);
    context.set(part, at + 4);
    at += 4 + part.length;
  }
  return context;
}

/** base64url without padding, of two byte strings in a row. */
function base64url(head: Uint8Array, tail: Uint8Array): string {
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
