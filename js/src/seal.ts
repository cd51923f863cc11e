/**
 * Sealing by WebCrypto: the same bytes as `core/src/token` makes, for payloads so large that the runtime's native AES outweighs what
 * its asynchronous interface costs, and for those that are to be deflated.
 */
import { encoder } from './engine.js';
import { type Draft, base64url } from './payload.js';
import type { Provider } from './provider.js';
import { BLOCK, DOMAIN, HEADER, IV, TAG, macContext, secretBytes, writeHeader } from './token.js';

const BUCKET = 64;
const MAX_INFLATED = 1 << 20;

/** The token of a draft, deflated where that is asked for and makes it smaller. @internal */
export async function seal(provider: Provider, secret: string, { payload, expiresAt }: Draft, compress: boolean): Promise<string> {
  const plain = encoder.encode(payload);
  const deflated = compress ? await deflate(plain) : null;
  const plaintext = deflated ?? plain;
  const keys = (provider.webKeys ??= await deriveKeys(secret));
  const { cookie, keyId } = provider.about;

  // One buffer: what is authenticated besides the token, the token without its tag, the tag.
  const context = macContext(cookie);
  const end = context.length + HEADER + (Math.floor(plaintext.length / BLOCK) + 1) * BLOCK;
  const buffer = new Uint8Array(end + TAG);
  buffer.set(context);
  const token = buffer.subarray(context.length);
  writeHeader(token, deflated !== null, keyId, expiresAt);
  const iv = crypto.getRandomValues(token.subarray(IV, HEADER));

  token.set(new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-CBC', iv }, keys.encryption, plaintext)), HEADER);
  buffer.set(new Uint8Array(await crypto.subtle.sign('HMAC', keys.authentication, buffer.subarray(0, end))), end);
  return base64url(token);
}

/**
 * As `core/src/compress.rs`: length, deflated bytes, zeros up to a whole bucket, so that guesses which differ by a few bytes don't differ in
 * length. `null` if that is not shorter, or if this runtime can't deflate.
 */
async function deflate(plain: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null> {
  if (typeof CompressionStream === 'undefined' || plain.length > MAX_INFLATED) return null;
  const stream = new Blob([plain]).stream().pipeThrough(new CompressionStream('deflate-raw'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const framed = new Uint8Array(Math.ceil((4 + packed.length) / BUCKET) * BUCKET);
  new DataView(framed.buffer).setUint32(0, packed.length);
  framed.set(packed, 4);
  return framed.length < plain.length ? framed : null;
}

/** HKDF-SHA256 with the labels of `core/src/crypto/keys.rs`. The keys can't be read back. */
async function deriveKeys(secret: string): Promise<{ encryption: CryptoKey; authentication: CryptoKey }> {
  const master = await crypto.subtle.importKey('raw', secretBytes(secret), 'HKDF', false, ['deriveKey']);
  const hkdf = (info: string) => ({ name: 'HKDF', hash: 'SHA-256', salt: encoder.encode(DOMAIN), info: encoder.encode(info) });
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
