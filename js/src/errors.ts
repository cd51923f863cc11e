/** What every error of this package has as its `code`: stable, to be compared with. */
export type SessionErrorCode =
  | 'bad-config'
  | 'bad-secret'
  | 'passphrase'
  | 'kdf'
  | 'no-web-crypto'
  | 'no-wasm'
  | 'cookie-too-large'
  | 'not-json'
  | 'client-address'
  | 'internal';

/**
 * What all errors of this package have in common. No message holds a secret, a token or a value of a session.
 *
 * A bad *cookie* is never an error: `session.rejected` says what was wrong with it.
 *
 * @example
 * try {
 *   return await sessions.commit(session, response);
 * } catch (error) {
 *   if (error instanceof SessionError && error.code === 'cookie-too-large') return new Response(null, { status: 413 });
 *   throw error;
 * }
 */
export class SessionError extends Error {
  /** Tells the errors apart, across copies of this package too. */
  readonly code: SessionErrorCode;
  override readonly name: string = 'SessionError';

  constructor(code: SessionErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The options contradict themselves: a `__Host-` cookie with a domain, timeouts out of order. Thrown by `createSessions`. */
export class ConfigError extends SessionError {
  override readonly name = 'ConfigError';

  constructor(message: string, options?: ErrorOptions) {
    super('bad-config', message, options);
  }
}

/** A secret can't be used: missing, short, repetitive, publicly known, or a passphrase where only the `sk1_` form is taken. */
export class SecretError extends SessionError {
  override readonly name = 'SecretError';

  constructor(message: string, code: 'bad-secret' | 'passphrase' = 'bad-secret') {
    super(code, message);
  }
}

/** This runtime does not derive keys with the asked-for number of iterations (Cloudflare Workers stop at 100,000). */
export class KeyDerivationError extends SessionError {
  override readonly name = 'KeyDerivationError';

  constructor(message: string, options?: ErrorOptions) {
    super('kdf', message, options);
  }
}

/** The runtime has no Web Crypto (`globalThis.crypto`), or its random source failed. */
export class CryptoUnavailableError extends SessionError {
  override readonly name = 'CryptoUnavailableError';

  constructor(message: string, options?: ErrorOptions) {
    super('no-web-crypto', message, options);
  }
}

/** The runtime refuses to compile or run WebAssembly, for example a page whose CSP lacks `'wasm-unsafe-eval'`. */
export class WasmUnavailableError extends SessionError {
  override readonly name = 'WasmUnavailableError';

  constructor(message: string, options?: ErrorOptions) {
    super('no-wasm', message, options);
  }
}

/** The session needs a larger cookie than browsers keep. Nothing was sent: the client still has the cookie from before. */
export class CookieTooLargeError extends SessionError {
  override readonly name = 'CookieTooLargeError';
  /** Bytes of the cookie's name and value. */
  readonly actual: number;
  /** Bytes that browsers keep. */
  readonly limit: number;

  constructor(message: string, actual: number, limit: number) {
    super('cookie-too-large', message);
    this.actual = actual;
    this.limit = limit;
  }
}

/** `session.data` is not an object that JSON can hold: it has a cycle, a `bigint`, or is an array or a primitive. */
export class NotJsonError extends SessionError {
  override readonly name = 'NotJsonError';

  constructor(message: string, options?: ErrorOptions) {
    super('not-json', message, options);
  }
}

/** Sessions are bound to the client's address, and nobody said what it is. See `clientAddress`. */
export class ClientAddressError extends SessionError {
  override readonly name = 'ClientAddressError';

  constructor() {
    super(
      'client-address',
      'sessions are bound to the client\'s address, and the address is unknown: pass `load(request, { ip })`, or set the option `clientAddress`',
    );
  }
}

/** The error class for what the WebAssembly module failed with. @internal */
export function toError(code: string, message: string, actual: number, limit: number): SessionError {
  switch (code) {
    case 'bad-config':
      return new ConfigError(message);
    case 'bad-secret':
      return new SecretError(message);
    case 'no-web-crypto':
      return new CryptoUnavailableError(message);
    case 'cookie-too-large':
      return new CookieTooLargeError(message, actual, limit);
    default:
      return new SessionError('internal', message);
  }
}
