/** The seals of iron-session 8 and 9: `core/src/interop/iron.rs` in WebCrypto. */
import { ConfigError, SecretError } from '../errors.js';
import { type Bytes, fromStrictBase64url, isFields, parseJson, toBase64url, toText, utf8 } from './encoding.js';
import type { Foreign, Refusal, Source } from './source.js';

/** What iron-session was configured with. */
export interface IronOptions {
  /**
   * Its `password`: one, or several by their ids, of which the greatest seals.
   * @example { 1: env.OLD_PASSWORD, 2: env.PASSWORD }
   */
  password: string | Readonly<Record<string, string>>;
}

const PREFIX = 'Fe26.2';
const SUFFIX = '~2';
const SKEW = 60_000;
const MAX_CHUNKS = 4;
const MAX_LENGTH = MAX_CHUNKS * 4096;

/**
 * The cookie of iron-session, split or whole.
 *
 * @throws SecretError ConfigError for what iron-session would not have taken.
 * @example
 * ironSession({ cookieName: 'my-app', password: process.env.IRON_PASSWORD! })
 */
export function ironSession({ cookieName, ...options }: IronOptions & { cookieName: string }): Source {
  const passwords = new Passwords(options);
  const chunks = Array.from({ length: MAX_CHUNKS }, (_, index) => `${cookieName}.${index}`);
  return {
    cookieNames: [cookieName, ...chunks],
    open: async (cookies, now) => {
      let seal = cookies(cookieName) ?? '';
      if (seal === '') {
        for (const chunk of chunks) {
          const part = cookies(chunk);
          if (part === null || part === '') break;
          seal += part;
        }
      }
      return seal === '' ? null : open(passwords, seal.replaceAll('%2A', '*'), now);
    },
  };
}

/**
 * Opens one seal: for places other than cookies.
 *
 * @throws SecretError ConfigError for what iron-session would not have taken.
 */
export async function openIron(seal: string, options: IronOptions & { now?: number }): Promise<Foreign | Refusal> {
  return open(new Passwords(options), seal, options.now ?? Date.now());
}

/**
 * Seals fields as iron-session does, for a transition in which another service still reads them so.
 *
 * @param options `ttl` in seconds, 0 for ever; by default 14 days, as there.
 * @throws SecretError ConfigError for what iron-session would not have taken.
 */
export async function sealIron(fields: object, { ttl = 1_209_600, now = Date.now(), ...options }: IronOptions & { ttl?: number; now?: number }): Promise<string> {
  const passwords = new Passwords(options);
  const id = passwords.newest;
  const iv = crypto.getRandomValues(new Uint8Array(16));
  const [salt, macSalt] = [newSalt(), newSalt()];
  const key = await passwords.encryptionKey(id, salt);
  const sealed = await crypto.subtle.encrypt({ name: 'AES-CBC', iv }, key, utf8.encode(JSON.stringify(fields)));
  const base = [PREFIX, id, salt, toBase64url(iv), toBase64url(new Uint8Array(sealed)), ttl === 0 ? '' : now + ttl * 1000].join('*');
  const mac = await crypto.subtle.sign('HMAC', await passwords.macKey(id, macSalt), utf8.encode(base));
  return `${base}*${macSalt}*${toBase64url(new Uint8Array(mac))}${SUFFIX}`;
}

async function open(passwords: Passwords, seal: string, now: number): Promise<Foreign | Refusal> {
  if (seal.length > MAX_LENGTH) return 'malformed';
  // What follows is not under the MAC.
  const parts = (seal.split('~', 1)[0] ?? '').split('*');
  const [prefix, id = '', salt = '', iv = '', ciphertext = '', expiry = '', macSalt = '', mac = ''] = parts;
  if (parts.length !== 8 || prefix !== PREFIX) return 'malformed';
  if (!passwords.has(id)) return 'unknown-password';
  const tag = fromStrictBase64url(mac);
  if (tag === null || tag.length !== 32) return 'malformed';
  const base = parts.slice(0, 6).join('*');
  if (!(await crypto.subtle.verify('HMAC', await passwords.macKey(id, macSalt), tag, utf8.encode(base)))) return 'forged';
  if (expiry !== '' && !/^[1-9]\d*$/.test(expiry)) return 'malformed';
  if (expiry !== '' && Number(expiry) + SKEW <= now) return 'expired';
  const plain = await decrypt(await passwords.encryptionKey(id, salt), fromStrictBase64url(iv), fromStrictBase64url(ciphertext));
  if (plain === null) return 'malformed';
  const fields = parseJson(toText(plain) ?? '');
  return isFields(fields) ? { fields, expiresAt: expiry === '' ? null : Number(expiry) } : 'data';
}

/** `null` for what isn't a whole number of padded blocks. */
export async function decrypt(key: CryptoKey, iv: Bytes | null, ciphertext: Bytes | null): Promise<Bytes | null> {
  if (iv === null || iv.length !== 16 || ciphertext === null) return null;
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-CBC', iv }, key, ciphertext));
  } catch {
    return null;
  }
}

/** 256 random bits in hexadecimal. */
function newSalt(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Passwords by their ids. Each is imported once; what is derived has a salt of its own in every seal. */
class Passwords {
  readonly newest: string;
  readonly #passwords: ReadonlyMap<string, string>;
  readonly #imported = new Map<string, Promise<CryptoKey>>();

  constructor({ password }: IronOptions) {
    this.#passwords = new Map(Object.entries(typeof password === 'string' ? { 1: password } : (password ?? {})));
    for (const [id, each] of this.#passwords) {
      if (!/^\w{1,32}$/.test(id)) throw new ConfigError('the id of a password is made of 1 to 32 letters, digits and underscores');
      if (typeof each !== 'string' || each.length < 32) throw new SecretError('a password of iron-session has at least 32 characters');
    }
    const [newest] = [...this.#passwords.keys()].sort((a, b) => (Number(b) || 0) - (Number(a) || 0));
    if (newest === undefined) throw new SecretError('the option `password` is missing: give the one that iron-session has');
    this.newest = newest;
  }

  has(id: string): boolean {
    return this.#passwords.has(id);
  }

  encryptionKey(id: string, salt: string): Promise<CryptoKey> {
    return this.#derive(id, salt, { name: 'AES-CBC', length: 256 }, ['encrypt', 'decrypt']);
  }

  macKey(id: string, salt: string): Promise<CryptoKey> {
    return this.#derive(id, salt, { name: 'HMAC', hash: 'SHA-256', length: 256 }, ['sign', 'verify']);
  }

  async #derive(id: string, salt: string, as: AesKeyGenParams | HmacKeyGenParams, usages: KeyUsage[]): Promise<CryptoKey> {
    let base = this.#imported.get(id);
    if (base === undefined) {
      base = crypto.subtle.importKey('raw', utf8.encode(this.#passwords.get(id)), 'PBKDF2', false, ['deriveKey']);
      this.#imported.set(id, base);
    }
    return crypto.subtle.deriveKey({ name: 'PBKDF2', hash: 'SHA-1', salt: utf8.encode(salt), iterations: 1 }, await base, as, false, usages);
  }
}
