/** The data cookies of the Crystal library `session`: `core/src/interop/crystal` in WebCrypto. */
import { ConfigError, KeyDerivationError, SecretError } from '../errors.js';
import { type Bytes, fromBase64, gunzip, isFields, isGzip, parseJson, toBase64url, toText, utf8 } from './encoding.js';
import { decrypt } from './iron.js';
import type { Foreign, Refusal, Source } from './source.js';

/** What the Crystal library was configured with. */
export interface CrystalOptions {
  /**
   * Its `secret`.
   * @example env.CRYSTAL_SECRET
   */
  secret: string;
  /**
   * Where `use_kdf` was on. Cloudflare Workers derive with at most 100,000 iterations, the default there.
   * @default none
   * @example {} // with its defaults
   */
  kdf?: {
    /** `kdf_iterations` @default 100_000 */
    iterations?: number;
    /** `kdf_salt` @default 'session_kdf_salt' */
    salt?: string;
  };
  /**
   * Accepts signatures by HMAC-SHA1 (`digest_fallback`, `digest_algorithm = :sha1`), before that time.
   * @default none
   * @example new Date('2027-01-31')
   */
  allowSha1Until?: Date;
}

/** The library's default: public, so that anyone can make sessions with it. */
const PUBLIC_SECRET = '1sxc1aNxGHTTZKlK5cpCgufJAqGM4G13';
const MAX_LENGTH = 4096;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/;

/** A signature's length in base64 says which digest made it. */
const DIGESTS: Readonly<Record<number, 'SHA-256' | 'SHA-384' | 'SHA-512' | 'SHA-1'>> = { 44: 'SHA-256', 64: 'SHA-384', 88: 'SHA-512', 28: 'SHA-1' };

/**
 * The cookie `<session_key>._data_` of its `CookieStore`.
 *
 * @param options `sessionKey` is its `session_key`, by default `_session`.
 * @throws SecretError ConfigError for what the library would not have taken, and for its public default secret.
 * @example
 * crystalCookies({ secret: process.env.CRYSTAL_SECRET!, kdf: {}, allowSha1Until: new Date('2027-01-31') })
 */
export function crystalCookies({ sessionKey = '_session', ...options }: CrystalOptions & { sessionKey?: string }): Source {
  if (options.secret === PUBLIC_SECRET) throw new SecretError("that is the library's public default secret: anyone can make sessions with it");
  const keys = new Keys(options);
  const name = `${sessionKey}._data_`;
  return {
    cookieNames: [name, sessionKey],
    open: async (cookies, now) => {
      const value = cookies(name);
      if (value === null || value === '') return null;
      const json = value.length > MAX_LENGTH ? 'malformed' : await open(keys, value, now);
      return typeof json === 'string' ? json : read(json, now);
    },
  };
}

/**
 * Opens one value: for places other than cookies.
 *
 * @throws SecretError ConfigError for what the library would not have taken.
 */
export async function openCrystal(value: string, options: CrystalOptions & { now?: number }): Promise<Uint8Array | Refusal> {
  return open(new Keys(options), value, options.now ?? Date.now());
}

/** @internal */
export async function open(keys: Keys, value: string, now: number): Promise<Bytes | Refusal> {
  const [data, signature] = parts(value) ?? [];
  if (data === undefined || signature === undefined || data === '') return 'malformed';
  const digest = DIGESTS[signature.length];
  const tag = fromBase64(signature);
  if (tag === null || `${toBase64url(tag)}${'='.repeat((3 - (tag.length % 3)) % 3)}` !== signature) return 'malformed';
  if (digest === undefined || !keys.accepts(digest, now)) return 'digest';
  if (!(await crypto.subtle.verify('HMAC', await keys.mac(digest), tag, utf8.encode(data)))) return 'forged';
  const bytes = fromBase64(data);
  if (bytes === null || bytes.length < 32) return 'malformed';
  const plain = await decrypt(await keys.encryption(), bytes.slice(-16), bytes.slice(0, -16));
  if (plain === null) return 'malformed';
  return isGzip(plain) ? ((await gunzip(plain)) ?? 'inflate') : plain;
}

/** Signed text and signature: of a JSON array in base64, or of `text--signature`. */
function parts(value: string): [string, string] | null {
  const outer = fromBase64(value);
  const pair = outer === null ? undefined : parseJson(toText(outer) ?? '');
  if (Array.isArray(pair) && pair.length === 2 && typeof pair[0] === 'string' && typeof pair[1] === 'string') return [pair[0], pair[1]];
  // The text may hold `--` itself: it is the signature's length that tells where it ends.
  for (const length of [44, 28, 64, 88, 24]) {
    const data = value.slice(0, -length);
    if (data.endsWith('--')) return [data.slice(0, -2), value.slice(-length)];
  }
  return null;
}

/** Read as there: `null` is as good as absent, the library's own three fields are not the application's. @internal */
export function read(json: Bytes, now: number, expectedId?: string): Foreign | Refusal {
  const session = parseJson(toText(json) ?? '');
  if (!isFields(session)) return 'data';
  const { session_id: id, created_at: _, expires_at: end, ...fields } = session;
  if (typeof id !== 'string' || id === '' || typeof end !== 'string' || !TIME.test(end)) return 'data';
  // A value that lies under another session's name was put there.
  if (expectedId !== undefined && id !== expectedId) return 'forged';
  const expiresAt = Date.parse(end.replace(/([+-]\d\d)(\d\d)$/, '$1:$2'));
  if (Number.isNaN(expiresAt)) return 'data';
  if (now > expiresAt) return 'expired';
  return { fields: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)), expiresAt };
}

/** Keys, made when the first value is opened and kept. @internal */
export class Keys {
  readonly #options: CrystalOptions;
  readonly #macs = new Map<string, Promise<CryptoKey>>();
  #encryption: Promise<CryptoKey> | undefined;

  constructor(options: CrystalOptions) {
    const { secret, kdf } = options;
    const least = kdf === undefined ? 32 : 1;
    if (typeof secret !== 'string' || utf8.encode(secret).length < least) throw new SecretError(`the secret of the Crystal library has at least ${least} bytes`);
    const iterations = kdf?.iterations ?? 1;
    if (!Number.isInteger(iterations) || iterations < 1) throw new ConfigError('`kdf.iterations` is a whole number from 1 on');
    this.#options = options;
  }

  accepts(digest: string, now: number): boolean {
    const { allowSha1Until } = this.#options;
    return digest !== 'SHA-1' || (allowSha1Until !== undefined && now < allowSha1Until.getTime());
  }

  /** The whole secret signs, derived or not. */
  mac(digest: string): Promise<CryptoKey> {
    let key = this.#macs.get(digest);
    if (key === undefined) {
      key = crypto.subtle.importKey('raw', utf8.encode(this.#options.secret), { name: 'HMAC', hash: digest }, false, ['verify']);
      this.#macs.set(digest, key);
    }
    return key;
  }

  encryption(): Promise<CryptoKey> {
    return (this.#encryption ??= this.#derive());
  }

  async #derive(): Promise<CryptoKey> {
    const { kdf } = this.#options;
    const secret = utf8.encode(this.#options.secret);
    if (kdf === undefined) return crypto.subtle.importKey('raw', secret.slice(0, 32), 'AES-CBC', false, ['decrypt']);
    const { iterations = 100_000, salt = 'session_kdf_salt' } = kdf;
    const base = await crypto.subtle.importKey('raw', secret, 'PBKDF2', false, ['deriveKey']);
    const params = { name: 'PBKDF2', hash: 'SHA-256', salt: utf8.encode(salt), iterations };
    return crypto.subtle.deriveKey(params, base, { name: 'AES-CBC', length: 256 }, false, ['decrypt']).catch((cause: unknown) => {
      throw new KeyDerivationError(`this runtime does not derive a key with ${iterations} PBKDF2 iterations (Cloudflare Workers stop at 100,000)`, { cause });
    });
  }
}
