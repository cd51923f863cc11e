/**
 * What one set of options becomes in the WebAssembly module: made once for equal options, and again when the instance was replaced. Its
 * methods are the module's functions, with JavaScript's types.
 */
import {
  ABSENT,
  REJECTED,
  UNCHANGED,
  answer,
  begin,
  bytes,
  currentGeneration,
  engine,
  latin1,
  readBytes,
  readInteger,
  readNumber,
  readText,
  restart,
  text,
} from './engine.js';
import { SessionError } from './errors.js';
import type { Changes, Committed, Loaded, Rejection } from './session.js';

/** What the module says about a configuration. */
interface About {
  cookie: string;
  keyId: string;
  /** Milliseconds. */
  idle: number;
  bindsIp: boolean;
  bindsUserAgent: boolean;
}

/** What a reference token says. */
export interface Reference {
  subject: string | null;
  key: string;
  rotation: number;
  expiresAt: number;
  absoluteEnd: number;
}

/** Who asks, as far as sessions are bound to it. */
export interface BoundTo {
  readonly ip: string | null;
  readonly userAgent: string | null;
}

/**
 * Configurations that are kept at a time. Workers that get their secrets with each request create their sessions with each request:
 * that must be cheap, and must not fill the memory.
 */
const MOST = 64;

const providers = new Map<string, Provider>();

/** @internal */
export class Provider {
  readonly about: About;
  /** What WebCrypto seals large sessions with, once it was needed. */
  webKeys: { encryption: CryptoKey; authentication: CryptoKey } | undefined;
  readonly #options: string;
  #handle = 0;
  #generation = -1;

  private constructor(options: string) {
    this.#options = options;
    this.about = this.#register();
  }

  /** The provider for options in JSON. */
  static of(options: string): Provider {
    let provider = providers.get(options);
    if (provider === undefined) {
      if (providers.size >= MOST) {
        providers.clear();
        restart();
      }
      provider = new Provider(options);
      providers.set(options, provider);
    }
    return provider;
  }

  /** The session in a `Cookie` header, or why there is none. */
  load(cookies: string, { ip, userAgent }: BoundTo, now: number): Loaded | Rejection | null {
    try {
      const handle = this.#ready();
      begin(cookies.length * 3 + (ip?.length ?? 0) + (userAgent?.length ?? 0), 3);
      text(cookies);
      latin1(ip);
      latin1(userAgent);
      const result = engine().load(handle, now);
      if (result === ABSENT) return null;
      answer(result);
      if (result === REJECTED) return readText() as Rejection;
      const expiresAt = readNumber();
      const flags = readInteger();
      return { expiresAt, due: (flags & 1) !== 0, oldKey: (flags & 2) !== 0, payload: readBytes() };
    } catch (error) {
      // Whatever a cookie does to the module, the request goes on without it and the next one gets a fresh instance.
      if (recover(error)) return 'malformed';
      throw error;
    }
  }

  /** The reference token in a `Cookie` header, or why there is none. */
  verify(cookies: string, now: number): Reference | Rejection | null {
    try {
      const handle = this.#ready();
      begin(cookies.length * 3, 1);
      text(cookies);
      const result = engine().verify(handle, now);
      if (result === ABSENT) return null;
      answer(result);
      return result === REJECTED ? (readText() as Rejection) : (JSON.parse(readText()) as Reference);
    } catch (error) {
      if (recover(error)) return 'malformed';
      throw error;
    }
  }

  /** Saves changes; `null` if nothing is to be sent. */
  commit(changes: Changes, { ip, userAgent }: BoundTo, flags: number, now: number): Committed | null {
    const { payload, subject, flash, data, since } = changes;
    return this.#call((handle) => {
      const size = (subject?.length ?? 0) + (flash?.length ?? 0) + (data?.length ?? 0);
      begin((payload?.length ?? 0) + size * 3 + (ip?.length ?? 0) + (userAgent?.length ?? 0), 6);
      bytes(payload);
      text(subject);
      text(flash);
      text(data);
      latin1(ip);
      latin1(userAgent);
      const result = engine().commit(handle, changes.flags | flags, since, now);
      if (result === UNCHANGED) return null;
      answer(result);
      const expiresAt = readNumber();
      const line = readText(readInteger());
      return { expiresAt, line, due: false, oldKey: false, payload: readBytes() };
    });
  }

  /** The `Set-Cookie` line for a token. */
  line(token: string, expiresAt: number, now: number): string {
    return this.#call((handle) => {
      begin(token.length, 1);
      latin1(token);
      answer(engine().set_cookie(handle, expiresAt, now));
      return readText();
    });
  }

  /** The `Set-Cookie` line that ends a session at the client. */
  removal(): string {
    return this.#call((handle) => {
      answer(engine().remove_cookie(handle));
      return readText();
    });
  }

  /** The public name of the session with this payload. */
  key(payload: Uint8Array): string {
    return this.#call(() => {
      begin(payload.length, 1);
      bytes(payload);
      answer(engine().key());
      return readText();
    });
  }

  #call<R>(run: (handle: number) => R): R {
    try {
      return run(this.#ready());
    } catch (error) {
      if (recover(error)) throw new SessionError('internal', 'the WebAssembly module failed, and was replaced', { cause: error });
      throw error;
    }
  }

  /** The number by which the module knows this provider. To be asked for before anything is written: it may call the module. */
  #ready(): number {
    if (this.#generation !== currentGeneration()) this.#register();
    return this.#handle;
  }

  #register(): About {
    begin(this.#options.length * 3, 1);
    text(this.#options);
    answer(engine().create());
    this.#handle = readInteger();
    this.#generation = currentGeneration();
    return JSON.parse(readText()) as About;
  }
}

/** After a trap nothing in the instance is to be trusted: drops it. */
function recover(error: unknown): boolean {
  const trapped = error instanceof WebAssembly.RuntimeError;
  if (trapped) restart();
  return trapped;
}
