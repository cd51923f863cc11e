import { answer, begin, encoder, engine, text } from './engine.js';
import { KeyDerivationError } from './errors.js';
import { type BaseOptions, type DeriveOptions, type SessionOptions, isRandomSecret, previousSecrets, requireSecret } from './options.js';
import { base64url } from './payload.js';
import { Sessions } from './sessions.js';

/**
 * Sessions with a secret that needs no derivation: synchronous, and so cheap that a Worker may call it with each request.
 *
 * @throws ConfigError, SecretError: found when the application starts, not when a user signs in.
 * @example
 * interface UserSession { visits?: number; theme?: 'light' | 'dark' }
 * const sessions = createSessions<UserSession>({ secret: env.SESSION_SECRET });
 */
export function createSessions<T extends object = Record<string, unknown>>(options: SessionOptions<T>): Sessions<T> {
  return new Sessions<T>(options);
}

/**
 * As {@link createSessions}, with a passphrase (or the `sk1_` form) as secret. A passphrase is stretched by the runtime's own PBKDF2:
 * slow on purpose, so call it once, when the application starts.
 *
 * @throws KeyDerivationError where the runtime doesn't do as many iterations as asked for.
 * @example
 * const sessions = await deriveSessions({ secret: process.env.SESSION_SECRET });
 */
export async function deriveSessions<T extends object = Record<string, unknown>>(options: DeriveOptions<T>): Promise<Sessions<T>> {
  const { kdf, ...rest } = options as DeriveOptions<T> & BaseOptions;
  requireSecret(options.secret);
  const { salt = 'session-kdf-v1', iterations = 600_000 } = kdf ?? {};
  const [secret = '', ...previous] = await Promise.all(
    [options.secret, ...previousSecrets(options)].map((each) => (isRandomSecret(each) ? each : derive(each, salt, iterations))),
  );
  return new Sessions<T>({ ...rest, secret, previousSecrets: previous } as BaseOptions);
}

/**
 * A new secret, from the runtime's random source: what `session keygen` prints.
 *
 * @example
 * // npx -y -p session-edge node -p "require('session-edge').generateSecret()"
 */
export function generateSecret(): string {
  return encode(crypto.getRandomValues(new Uint8Array(32)));
}

async function derive(passphrase: string, salt: string, iterations: number): Promise<string> {
  begin(passphrase.length * 3, 1);
  text(passphrase);
  answer(engine().check_passphrase(iterations));
  try {
    const key = await crypto.subtle.importKey('raw', encoder.encode(passphrase), 'PBKDF2', false, ['deriveBits']);
    const bits = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: encoder.encode(salt), iterations }, key, 256);
    return encode(new Uint8Array(bits));
  } catch (cause) {
    throw new KeyDerivationError(
      `this runtime does not derive a secret with ${iterations} PBKDF2 iterations (Cloudflare Workers stop at 100,000): ` +
        'use a secret of `session keygen` (`sk1_…`), which needs no derivation, or set `kdf.iterations` to 100,000 in all services that share the cookie',
      { cause },
    );
  }
}

/** The written form of 32 bytes. */
const encode = (bytes: Uint8Array): string => `sk1_${base64url(bytes)}`;
