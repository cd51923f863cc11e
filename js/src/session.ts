import { NotJsonError } from './errors.js';
import { Flash } from './flash.js';
import type { BoundTo, Provider } from './provider.js';

/** Why a request's cookie was refused. For the server's own decisions: a client must not see it. The same codes as in Rust. */
export type Rejection =
  /** Not a session cookie at all. */
  | 'malformed'
  /** A reference to a stored session where a session is expected, or the other way round: see `sessions.verify`. */
  | 'wrong-cookie'
  /** Sealed with a secret that isn't configured (any more). */
  | 'unknown-key'
  /** Changed, made up, or moved from another cookie. */
  | 'forged'
  /** Past its end. */
  | 'expired'
  /** Presented by another client than the one it is bound to. */
  | 'bound-elsewhere';

/** What a cookie-held session's token says, in the words of `core/FORMAT.md`. */
interface Payload {
  iat: number;
  abs: number;
  sub?: string;
  auth?: number;
  flash?: Record<string, string>;
  data: unknown;
}

/** What a session was loaded from. @internal */
export interface Loaded {
  payload: Uint8Array;
  expiresAt: number;
  due: boolean;
  oldKey: boolean;
}

/** What a commit made of it. @internal */
export interface Committed extends Loaded {
  /** The `Set-Cookie` line; empty if the caller seals the payload. */
  line: string;
}

/** Where a session came from, and who asks. @internal */
export interface Origin<T> extends BoundTo {
  readonly provider: Provider;
  readonly now: number;
  readonly initial: () => T;
  readonly rejected: Rejection | null;
  /** Whether the request had a cookie of this name. */
  readonly hadCookie: boolean;
  /** Whether it is to be saved even if nothing is written to it. */
  readonly wanted: boolean;
}

/** What a commit has to tell the WebAssembly module. Fields are absent where nothing changed. @internal */
export interface Changes {
  flags: number;
  payload: Uint8Array | null;
  since: number;
  subject: string | null;
  flash: string | null;
  data: string | null;
}

/** The bits of {@link Changes.flags}; the same as in `wasm/src/provider.rs`. @internal */
const WANTED = 1;
const REGENERATE = 2;
const FLASH_SEEN = 4;
const FLASH_CLEARED = 8;
const RENEW_TOKEN = 16;
/** @internal */
export const UNSEALED = 32;

const decoder = new TextDecoder();

/** What `sessions` does with a session and applications don't. @internal */
export interface Access {
  origin<T extends object>(session: Session<T>): Origin<T>;
  destroyed<T extends object>(session: Session<T>): boolean;
  /** Whether the application looked at anything: then a response depends on the cookie. */
  read<T extends object>(session: Session<T>): boolean;
  /** What there is to save; `null` if the client has all that it needs. */
  changes<T extends object>(session: Session<T>): Changes | null;
  /** Notes what a commit saved. */
  accept<T extends object>(session: Session<T>, loaded: Loaded): void;
}

/** @internal */
export let access: Access;

/**
 * One session of one request. Made by `sessions.load` or `sessions.create`, saved by `sessions.commit`.
 *
 * The application's fields live in {@link Session.data} alone, so they can have any name.
 *
 * @example
 * const session = sessions.load(request);
 * session.data.visits = (session.data.visits ?? 0) + 1;
 * return await sessions.commit(session, new Response(`visit ${session.data.visits}`));
 */
export class Session<T extends object = Record<string, unknown>> {
  readonly #origin: Origin<T>;
  #loaded: Loaded | null;
  /** The payload, read when something of it is asked for, and the text that it was read from. */
  #payload: Payload | undefined;
  #text = '';
  #data: T | undefined;
  /** The data of a session that isn't stored yet, as it began. */
  #began = '{}';
  #flash: Flash | undefined;
  #subject: string | null | undefined;
  #authenticated = false;
  #regenerated = false;
  #destroyed = false;
  #read = false;

  static {
    access = {
      origin: <U extends object>(session: Session<U>) => session.#origin,
      destroyed: <U extends object>(session: Session<U>) => session.#destroyed,
      read: <U extends object>(session: Session<U>) => session.#read,
      changes: <U extends object>(session: Session<U>) => session.#changes(),
      accept: <U extends object>(session: Session<U>, loaded: Loaded) => session.#accept(loaded),
    };
  }

  /** @internal */
  constructor(origin: Origin<T>, loaded: Loaded | null) {
    this.#origin = origin;
    this.#loaded = loaded;
  }

  /**
   * The application's data: a plain object, to be read and changed in place or replaced. It is saved by the next commit if it differs
   * from what was loaded. It holds what JSON can hold: a `Date` comes back as a string, a `Map` as `{}`.
   */
  get data(): T {
    this.#read = true;
    if (this.#data === undefined) {
      if (this.#loaded === null) {
        this.#data = this.#origin.initial();
        this.#began = stringify(this.#data);
      } else {
        this.#data = this.#open().data as T;
      }
    }
    return this.#data;
  }

  set data(data: T) {
    if (this.#data === undefined) void this.data;
    this.#data = data;
  }

  /** Messages for the next request. */
  get flash(): Flash {
    this.#read = true;
    return (this.#flash ??= new Flash(() => this.#open().flash ?? {}));
  }

  /** Who is signed in: what {@link Session.authenticate} was given. `null` if nobody is. */
  get subject(): string | null {
    this.#read = true;
    return this.#subject === undefined ? (this.#open().sub ?? null) : this.#subject;
  }

  /** Whether the client has no session yet: it gets one when something is written. */
  get isNew(): boolean {
    this.#read = true;
    return this.#loaded === null && !this.#destroyed;
  }

  /** Why the request's cookie was refused; `null` if it was good, or if there was none. */
  get rejected(): Rejection | null {
    this.#read = true;
    return this.#origin.rejected;
  }

  /** The session's public name, for logs, metrics and deny-lists: nobody can sign in with it. `null` until the session is saved. */
  get key(): string | null {
    this.#read = true;
    return this.#loaded === null ? null : this.#origin.provider.key(this.#loaded.payload);
  }

  /** When the session began. */
  get createdAt(): Date {
    this.#read = true;
    return new Date(this.#open().iat);
  }

  /** When the session ends, unless a request extends it. */
  get expiresAt(): Date {
    this.#read = true;
    const { now, provider } = this.#origin;
    return new Date(this.#loaded?.expiresAt ?? now + provider.about.idle);
  }

  /** When the subject last signed in, for pages that want a recent proof; `null` before the commit that follows `authenticate`. */
  get authenticatedAt(): Date | null {
    this.#read = true;
    const { auth } = this.#open();
    return auth === undefined || this.subject === null ? null : new Date(auth);
  }

  /**
   * Signs `subject` in (a user's id, never a secret) and rotates the session. If the session belonged to *another* subject, that one's
   * data and flash messages are dropped first.
   */
  authenticate(subject: string): void {
    if (typeof subject !== 'string' || subject === '') throw new TypeError('authenticate wants the id of a user: a string that is not empty');
    if (this.#destroyed) return;
    const before = this.subject;
    if (before !== null && before !== subject) {
      this.data = this.#origin.initial();
      this.flash.clear();
    }
    this.#subject = subject;
    this.#authenticated = true;
  }

  /**
   * Rotates the session: call it when privileges change. {@link Session.authenticate} does it by itself.
   *
   * With cookie-held sessions the old cookie still opens until it expires, wherever someone kept a copy of it: see "What the edge can
   * and can't know" in the README.
   */
  regenerate(): void {
    this.#regenerated = true;
  }

  /** Ends the session: its data is gone, and the next commit makes the client forget the cookie. Nothing written afterwards is kept. */
  destroy(): void {
    this.#destroyed = true;
    this.#data = this.#origin.initial();
    this.#flash = new Flash(() => ({}));
    this.#subject = null;
    this.#authenticated = false;
  }

  #open(): Payload {
    if (this.#payload === undefined) {
      const { now } = this.#origin;
      if (this.#loaded === null) {
        this.#payload = { iat: now, abs: now, data: {} };
      } else {
        this.#text = decoder.decode(this.#loaded.payload);
        this.#payload = JSON.parse(this.#text) as Payload;
      }
    }
    return this.#payload;
  }

  #changes(): Changes | null {
    const loaded = this.#loaded;
    if (this.#destroyed) return null;
    const flash = this.#flash?.changes() ?? null;
    const wanted = this.#origin.wanted && loaded === null;
    const rest =
      wanted || this.#authenticated || flash !== null || (loaded !== null && (this.#regenerated || loaded.due));
    const data = this.#changedData(rest);
    if (!rest && data === null) return null;
    return {
      flags:
        (wanted ? WANTED : 0) |
        (this.#regenerated ? REGENERATE : 0) |
        (flash?.seen === true ? FLASH_SEEN : 0) |
        (flash?.cleared === true ? FLASH_CLEARED : 0) |
        (loaded?.oldKey === true ? RENEW_TOKEN : 0),
      payload: loaded?.payload ?? null,
      since: loaded?.expiresAt ?? this.#origin.now,
      subject: this.#authenticated ? this.#subject ?? null : null,
      flash: flash?.next ?? null,
      data,
    };
  }

  /** The data as JSON if it has to be saved. A session that is saved for the first time needs all of it. */
  #changedData(saving: boolean): string | null {
    if (this.#loaded === null) {
      const text = saving || this.#data !== undefined ? stringify(this.data) : '{}';
      return saving ? (text === '{}' ? null : text) : text === this.#began ? null : text;
    }
    if (this.#data === undefined) return null;
    const text = stringify(this.#data);
    this.#open();
    // Payloads that this package wrote end with the data; else what Rust wrote is compared in the way JavaScript writes it.
    const same = this.#text.endsWith(`"data":${text}}`) || stringify((JSON.parse(this.#text) as Payload).data) === text;
    return same ? null : text;
  }

  #accept(loaded: Loaded): void {
    this.#loaded = loaded;
    this.#payload = undefined;
    this.#flash = this.#flash === undefined ? undefined : new Flash(() => this.#open().flash ?? {});
    this.#subject = undefined;
    this.#authenticated = this.#regenerated = false;
  }
}

function stringify(data: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(data) as string | undefined;
  } catch (cause) {
    throw new NotJsonError('session.data can\'t be written as JSON: it has a cycle, a bigint, or a toJSON that throws', { cause });
  }
  if (text === undefined || text[0] !== '{') {
    throw new NotJsonError('session.data must be an object that JSON can hold: put arrays and primitives into a field of it');
  }
  return text;
}
