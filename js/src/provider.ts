/**
 * What one set of options becomes in the WebAssembly module: made once for equal options, and again when the instance was replaced. Its
 * methods are the module's functions, with JavaScript's types.
 */
import {
  ABSENT,
  REJECTED,
  answer,
  begin,
  currentGeneration,
  engine,
  flag,
  latin1,
  number,
  random,
  readInteger,
  readNumber,
  readPayload,
  readText,
  restart,
  text,
} from './engine.js';
import { SessionError } from './errors.js';
import type { NativeKey } from './native.js';
import { type BaseOptions, type Field, toFields } from './options.js';
import type { Binding, Rejection } from './payload.js';
import { IV_LENGTH } from './token.js';

/** What the module says about a configuration. Times are in milliseconds. */
interface About {
  readonly cookie: string;
  readonly keyId: number;
  readonly idle: number;
  readonly absolute: number;
  readonly slides: boolean;
  readonly bindsIp: boolean;
  readonly bindsUserAgent: boolean;
}

/** An opened token. */
export interface Opened {
  /** What was sealed, as text. */
  readonly payload: string;
  readonly expiresAt: number;
  /** Which of the cookies of that name it was. */
  readonly index: number;
  /** Whether it was sealed with an older secret. */
  readonly oldKey: boolean;
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

let native: typeof NativeKey | undefined;

/** Says what opens and seals beside the module: entries for runtimes that may have `node:crypto` bring it. @internal */
export function provideNative(key: typeof NativeKey): void {
  native = key;
}

/** @internal */
export class Provider {
  readonly about: About;
  /** What WebCrypto seals large sessions with, once it was needed. */
  webKeys: { encryption: CryptoKey; authentication: CryptoKey } | undefined;
  /** What `node:crypto` opens and seals with, once it was needed; `null` where there is none. */
  #native: NativeKey | null | undefined;
  readonly #options: readonly Field[];
  #handle = 0;
  #generation = -1;

  private constructor(options: readonly Field[]) {
    this.#options = options;
    this.about = this.#register();
  }

  static of(options: BaseOptions): Provider {
    const fields = toFields(options);
    const name = JSON.stringify(fields);
    let provider = providers.get(name);
    if (provider === undefined) {
      if (providers.size >= MOST) {
        providers.clear();
        restart();
      }
      provider = new Provider(fields);
      providers.set(name, provider);
    }
    return provider;
  }

  /** Opens the first good token in a `Cookie` header after the first `skip`, or says why there is none. */
  open(cookies: string, references: boolean, skip: number, now: number): Opened | Rejection | null {
    // A site has other cookies too: without ours there is nothing to open.
    const ours = part(cookies, this.about.cookie);
    if (ours === '') return null;
    if (!references && skip === 0 && native?.opens(ours.length)) {
      const opened = this.#nativeKey()?.open(cookies, now);
      if (opened) return opened;
    }
    try {
      const handle = this.#ready();
      begin(ours.length * 3, 1);
      text(ours);
      const result = engine().open(handle, references ? 1 : 0, skip, now);
      if (result === ABSENT) return null;
      answer(result);
      if (result === REJECTED) return readText() as Rejection;
      const expiresAt = readNumber();
      const place = readNumber();
      const payload = readPayload();
      return payload === null ? 'malformed' : { payload, expiresAt, index: place >> 1, oldKey: (place & 1) !== 0 };
    } catch (error) {
      // Whatever a cookie does to the module, the request goes on without it and the next one gets a fresh instance.
      if (recover(error)) return 'malformed';
      throw error;
    }
  }

  /** Seals a payload: the `Set-Cookie` line. */
  seal(payload: string, expiresAt: number, now: number): string {
    const token = native?.seals(payload.length) ? this.#nativeKey()?.seal(payload, expiresAt) : undefined;
    if (token !== undefined) return this.line(token, expiresAt, now);
    return this.#call((handle) => {
      begin(IV_LENGTH + payload.length * 3, 2);
      random(IV_LENGTH);
      text(payload);
      answer(engine().seal(handle, expiresAt, now));
      return readText();
    });
  }

  /** The `Set-Cookie` line for a token. */
  line(token: string, expiresAt: number, now: number): string {
    return this.#call((handle) => {
      begin(token.length * 3, 1);
      text(token);
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

  /** What the session `sid` keeps of a client, under the key `kid` or the one that seals; `null` if there is no such key. */
  bind(sid: string, kid: string | null, { ip, userAgent }: BoundTo): Binding | null {
    return this.#call((handle) => {
      begin(sid.length * 3 + (kid?.length ?? 0) * 3 + (ip?.length ?? 0) + (userAgent?.length ?? 0), 4);
      text(sid);
      text(kid);
      latin1(ip);
      latin1(userAgent);
      answer(engine().bind(handle));
      const [keyId = '', address = '', browser = ''] = readText().split('\n');
      if (keyId === '') return null;
      return { kid: keyId, ...(address === '' ? {} : { ip: address }), ...(browser === '' ? {} : { ua: browser }) };
    });
  }

  /** The public name of a session. */
  key(sid: string): string {
    return this.#call(() => {
      begin(sid.length * 3, 1);
      text(sid);
      answer(engine().key());
      return readText();
    });
  }

  #nativeKey(): NativeKey | null {
    if (this.#native === undefined) this.#native = native?.of(this.#options[0] as string, this.about.cookie, this.about.keyId) ?? null;
    return this.#native;
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
    const size = this.#options.reduce<number>((size, field) => size + (typeof field === 'string' ? field.length * 3 : 8), 0);
    begin(size, this.#options.length);
    for (const field of this.#options) {
      if (typeof field === 'number') number(field);
      else if (typeof field === 'boolean') flag(field);
      else text(field);
    }
    answer(engine().create());
    this.#handle = readNumber();
    const [idle, absolute, bits] = [readNumber(), readNumber(), readNumber()];
    const keyId = readInteger();
    this.#generation = currentGeneration();
    return { idle, absolute, slides: (bits & 1) !== 0, bindsIp: (bits & 2) !== 0, bindsUserAgent: (bits & 4) !== 0, keyId, cookie: readText() };
  }
}

/**
 * The part of a `Cookie` header in which the cookies of this name are, if there are any. The cookies of others, which may be kilobytes, need not cross
 * the border.
 */
function part(cookies: string, name: string): string {
  const first = cookies.indexOf(name);
  if (first === -1) return '';
  // Not by `lastIndexOf`, which looks at one character after the other: with a cookie of 600 it took a twentieth of an open.
  let end = cookies.indexOf(';', first);
  for (let next: number; end !== -1 && (next = cookies.indexOf(name, end)) !== -1; ) end = cookies.indexOf(';', next);
  return cookies.slice(cookies.lastIndexOf(';', first) + 1, end === -1 ? undefined : end);
}

/** After a trap nothing in the instance is to be trusted: drops it. */
function recover(error: unknown): boolean {
  const trapped = error instanceof WebAssembly.RuntimeError;
  if (trapped) restart();
  return trapped;
}
