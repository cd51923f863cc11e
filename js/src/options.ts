import { ConfigError, CryptoUnavailableError, SecretError } from './errors.js';

/** A starting point for all options; the same names and values as in Rust. */
export type Preset = 'production' | 'development' | 'high_security' | 'testing' | 'clustered';

/** The session cookie. Combinations that browsers refuse silently are a {@link ConfigError} when the sessions are created. */
export interface CookieOptions {
  /**
   * The cookie's name. A `__Host-` cookie can't be planted by another subdomain.
   * @default '__Host-session' ('session' with the presets `development` and `testing`)
   * @example '__Host-shop'
   */
  name?: string;
  /**
   * The paths that get the cookie; a `__Host-` cookie has '/'.
   * @default '/'
   * @example '/app'
   */
  path?: string;
  /**
   * The domain whose subdomains get the cookie too; not with a `__Host-` cookie.
   * @default none: only this very host does
   * @example 'example.com'
   */
  domain?: string;
  /**
   * Sent over HTTPS alone.
   * @default true (false with the presets `development` and `testing`)
   * @example false // on http://localhost, with a name without prefix
   */
  secure?: boolean;
  /**
   * Hidden from scripts of the page.
   * @default true
   * @example true
   */
  httpOnly?: boolean;
  /**
   * Whether it is sent with requests that another site caused. 'none' demands `secure`.
   * @default 'lax' ('strict' with `high_security`)
   * @example 'none' // in a frame of another site
   */
  sameSite?: 'strict' | 'lax' | 'none';
  /**
   * Kept apart for each top-level site that embeds this one (CHIPS). Demands `secure`.
   * @default false
   * @example true
   */
  partitioned?: boolean;
  /**
   * Kept when the browser closes, until the session expires.
   * @default true
   * @example false // ends with the browser
   */
  persistent?: boolean;
}

/** What a session works from: only the client that it began with. A weak defence; see the README. */
export interface ClientBinding {
  /**
   * The client's address: `true` is the whole IPv4 address or the IPv6 /64; or say how many leading bits count.
   * @default false
   * @example { v4: 24, v6: 48 }
   */
  ip?: boolean | { v4: number; v6: number };
  /**
   * The `User-Agent` header.
   * @default false
   * @example true
   */
  userAgent?: boolean;
}

/** How a passphrase becomes a secret (PBKDF2-HMAC-SHA256). All services that share cookies must use the same values. */
export interface KeyDerivation {
  /**
   * Not secret: one of your own makes tables that others computed useless.
   * @default 'session-kdf-v1'
   * @example 'shop.example'
   */
  salt?: string;
  /**
   * At least 100,000; Cloudflare Workers do no more than that.
   * @default 600_000
   * @example 100_000
   */
  iterations?: number;
}

/** Options that don't depend on the type of the data. */
export interface BaseOptions {
  /**
   * What everything is encrypted with: `sk1_` and 43 characters, as {@link generateSecret} or `session keygen` print it.
   * {@link deriveSessions} takes a passphrase too.
   * @example env.SESSION_SECRET
   */
  secret: string;
  /**
   * Secrets that still open cookies of before a rotation: a list, or one string separated by commas.
   * @default []
   * @example env.SESSION_PREVIOUS_SECRETS
   */
  previousSecrets?: readonly string[] | string | undefined;
  /**
   * Where all other options start from: `core/PRESETS.md` lists their values.
   * @default 'production'
   * @example process.env.NODE_ENV === 'development' ? 'development' : 'production'
   */
  preset?: Preset;
  /**
   * The cookie's name and attributes.
   * @default those of the preset
   * @example { name: '__Host-shop', sameSite: 'strict' }
   */
  cookie?: CookieOptions;
  /**
   * Seconds without a request after which a session ends.
   * @default 3600 (other presets have others)
   * @example 15 * 60
   */
  idleTimeout?: number;
  /**
   * Seconds after which a session ends in any case, at most 400 days.
   * @default 86_400 (other presets have others)
   * @example 30 * 86_400
   */
  absoluteTimeout?: number;
  /**
   * Whether requests extend a session by `idleTimeout`.
   * @default true (false with `testing`)
   * @example false
   */
  sliding?: boolean;
  /**
   * Seconds for which a cookie is still taken after its end, for servers whose clocks differ.
   * @default 0
   * @example 30
   */
  clockSkew?: number;
  /**
   * Binds sessions to the client they began with.
   * @default false (address and browser with `high_security`)
   * @example { ip: { v4: 24, v6: 48 }, userAgent: true }
   */
  clientBinding?: false | ClientBinding;
  /**
   * The client's address, for `clientBinding`. Only you know which header your platform vouches for.
   * @default none: it is then passed to `load`
   * @example (request) => request.headers.get('cf-connecting-ip')
   */
  clientAddress?: (request: Request) => string | null | undefined;
  /**
   * Deflates large sessions. Off, because lengths tell about what is inside: turn it on only where no attacker can put text
   * beside a secret, and when sessions would not fit otherwise.
   * @default false
   * @example true
   */
  compress?: boolean;
  /**
   * The clock, in milliseconds, for tests.
   * @default Date.now
   * @example () => 1_800_000_000_000
   */
  now?: () => number;
}

/**
 * What {@link createSessions} takes. If the data type has required fields, `initial` has to make them, so that `session.data` is
 * never less than its type says.
 */
export type SessionOptions<T extends object = Record<string, unknown>> = BaseOptions &
  ({} extends T
    ? {
        /**
         * The data of a session that begins.
         * @default () => ({})
         * @example () => ({ theme: 'light' })
         */
        initial?: () => T;
      }
    : {
        /**
         * The data of a session that begins: it has what the type demands.
         * @example () => ({ visits: 0 })
         */
        initial: () => T;
      });

/** What {@link deriveSessions} takes. */
export type DeriveOptions<T extends object = Record<string, unknown>> = SessionOptions<T> & {
  /**
   * How a passphrase becomes a secret. Unused with the `sk1_` form.
   * @default { salt: 'session-kdf-v1', iterations: 600_000 }
   * @example { iterations: 100_000 } // Cloudflare Workers do no more
   */
  kdf?: KeyDerivation;
};

const SECRET = /^sk1_[A-Za-z0-9_-]{43}$/;

/** Whether a secret is in the form that needs no derivation. @internal */
export const isRandomSecret = (secret: string): boolean => secret.startsWith('sk1_');

/** @internal */
export function previousSecrets({ previousSecrets = [] }: BaseOptions): string[] {
  const list = typeof previousSecrets === 'string' ? previousSecrets.split(',') : previousSecrets;
  return list.map((secret) => secret.trim()).filter((secret) => secret !== '');
}

/** Refuses a missing secret before anything else looks at it. @internal */
export function requireSecret(secret: unknown): asserts secret is string {
  if (typeof secret !== 'string' || secret === '') {
    throw new SecretError('the option `secret` is missing: put a secret of `session keygen` or `generateSecret()` into the environment');
  }
}

/**
 * The options as the WebAssembly module reads them, field by field: `wasm/src/options.rs`. What TypeScript's types would have refused is
 * refused here for JavaScript.
 * @internal
 */
export type Field = string | number | boolean | undefined;

/** @internal */
export function toFields(options: BaseOptions): Field[] {
  const { secret, preset, cookie = {}, clientBinding } = options;
  requireSecret(secret);
  const previous = previousSecrets(options);
  for (const each of [secret, ...previous]) checkForm(each);
  if (!hasWebCrypto()) {
    throw new CryptoUnavailableError('this runtime has no Web Crypto (`globalThis.crypto`): use a current one (Node from 20 on)');
  }
  if (cookie.sameSite !== undefined && !['strict', 'lax', 'none'].includes(cookie.sameSite)) {
    throw new ConfigError("`cookie.sameSite` is 'strict', 'lax' or 'none'");
  }
  return [
    secret,
    previous.join(),
    typed('preset', 'string', preset),
    typed('cookie.name', 'string', cookie.name),
    typed('cookie.path', 'string', cookie.path),
    typed('cookie.domain', 'string', cookie.domain),
    typed('cookie.secure', 'boolean', cookie.secure),
    typed('cookie.httpOnly', 'boolean', cookie.httpOnly),
    cookie.sameSite,
    typed('cookie.partitioned', 'boolean', cookie.partitioned),
    typed('cookie.persistent', 'boolean', cookie.persistent),
    seconds('idleTimeout', options.idleTimeout),
    seconds('absoluteTimeout', options.absoluteTimeout),
    typed('sliding', 'boolean', options.sliding),
    seconds('clockSkew', options.clockSkew),
    ...bindingFields(clientBinding),
  ];
}

/** Node loads Web Crypto when it is first asked for, which takes as long as all the rest of a cold start: its getter is enough to know. */
function hasWebCrypto(): boolean {
  const getter = Object.getOwnPropertyDescriptor(globalThis, 'crypto')?.get;
  return getter !== undefined || typeof globalThis.crypto?.getRandomValues === 'function';
}

function typed<V extends string | boolean>(name: string, type: 'string' | 'boolean', value: V | undefined): V | undefined {
  if (value !== undefined && typeof value !== type) throw new ConfigError(`the option \`${name}\` is a ${type}`);
  return value;
}

function seconds(name: string, value: number | undefined): number | undefined {
  if (value !== undefined && !(typeof value === 'number' && value >= 0 && Number.isFinite(value))) {
    throw new ConfigError(`the option \`${name}\` is a number of seconds`);
  }
  return value;
}

function checkForm(secret: string): void {
  if (!isRandomSecret(secret)) {
    throw new SecretError(
      '`createSessions` takes a secret that begins with `sk1_` (print one with `session keygen` or `generateSecret()`); ' +
        'to use a passphrase, `await deriveSessions(options)` once when the application starts',
      'passphrase',
    );
  }
  if (!SECRET.test(secret)) {
    throw new SecretError('`sk1_` must be followed by the 43 characters that `session keygen` prints');
  }
}

function bindingFields(binding: false | ClientBinding | undefined): Field[] {
  if (binding === undefined) return [undefined, undefined, undefined, undefined];
  const { ip = false, userAgent = false } = binding === false ? {} : binding;
  // A device changes its IPv6 address within the /64 by itself.
  const bits = ip === true ? { v4: 32, v6: 64 } : ip === false ? undefined : ip;
  return [true, bits?.v4, bits?.v6, userAgent];
}
