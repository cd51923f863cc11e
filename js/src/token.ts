/** The form of a token, as `core/FORMAT.md` specifies it: for what seals and opens outside of the module, with the same bytes. */

import { encoder } from './engine.js';

export const VERSION = 1;
export const COOKIE_HELD = 0;
export const DEFLATED = 1;
export const KEY_ID = 2;
export const EXPIRES_AT = 6;
export const IV = 14;
/** Where the ciphertext begins. */
export const HEADER = 30;
export const IV_LENGTH = HEADER - IV;
export const TAG = 32;
export const BLOCK = 16;

/** The salt of HKDF, and the domain of the tags. */
export const DOMAIN = 'session-token-v1';

/** The 32 bytes of a secret in the `sk1_` form. */
export function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(secret.slice(4).replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
}

/** What the tag covers before the token: the format's domain and the cookie's name, each with its length in front. */
export function macContext(cookie: string): Uint8Array<ArrayBuffer> {
  const parts = [encoder.encode(DOMAIN), encoder.encode(cookie)];
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

/** Writes all of a token's header but its IV. */
export function writeHeader(token: Uint8Array, deflated: boolean, keyId: number, expiresAt: number): void {
  const view = new DataView(token.buffer, token.byteOffset);
  token[0] = VERSION;
  token[1] = deflated ? COOKIE_HELD | DEFLATED : COOKIE_HELD;
  view.setUint32(KEY_ID, keyId);
  view.setBigUint64(EXPIRES_AT, BigInt(expiresAt));
}
