import { NotJsonError } from './errors.js';
import { Flash } from './flash.js';
import { type Changes, type Draft, type Payload, type Rejection, begun, draft, head, read } from './payload.js';
import type { BoundTo, Opened, Provider } from './provider.js';

/** Where a session came from, and who asks. @internal */
export interface Origin<T> {
  readonly provider: Provider;
  readonly now: number;
  readonly initial: () => T;
  readonly who: BoundTo;
  readonly rejected: Rejection | null;
  /** Whether the request had a cookie of this name. */
  readonly hadCookie: boolean;
  /** Whether it is to be saved even if nothing is written to it. */
  readonly wanted: boolean;
}

/** What `sessions` does with a session and applications don't. @internal */
export interface Access {
  origin<T extends object>(session: Session<T>): Origin<T>;
  destroyed<T extends object>(session: Session<T>): boolean;
  /** Whether the application looked at anything: then a response depends on the cookie. */
  read<T extends object>(session: Session<T>): boolean;
  /** What is to be sealed; `null` if the client has all that it needs. */
  draft<T extends object>(session: Session<T>, now: number): Draft | null;
  /** Notes that a draft was sealed. */
  accept<T extends object>(session: Session<T>, draft: Draft): void;
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
  /** What it was loaded from; `null` for a session that begins. */
  #opened: Opened | null;
  /** What the payload says, read when something of it is asked for. */
  #payload: Payload | undefined;
  #rejected: Rejection | null;
  #data: T | undefined;
  /** The data of a session that begins, as `initial` made it. */
  #initially = '{}';
  #flash: Flash | undefined;
  /** Whom the session was given to, and whether by a sign-in. */
  #subject: string | null = null;
  #authenticated = false;
  #regenerated = false;
  #destroyed = false;
  #touched = false;

  static {
    access = {
      origin: (session) => session.#origin,
      destroyed: (session) => session.#destroyed,
      read: (session) => session.#touched,
      draft: (session, now) => session.#draft(now),
      accept: (session, draft) => session.#accept(draft),
    };
  }

  /** @internal */
  constructor(origin: Origin<T>, opened: Opened | null) {
    this.#origin = origin;
    this.#opened = opened;
    this.#rejected = origin.rejected;
  }

  /**
   * The application's data: a plain object, to be read and changed in place or replaced. It is saved by the next commit if it differs
   * from what was loaded. It holds what JSON can hold: a `Date` comes back as a string, a `Map` as `{}`.
   */
  get data(): T {
    if (this.#data === undefined) {
      const { data } = this.#read();
      if (this.#opened === null) {
        this.#data = this.#origin.initial();
        this.#initially = stringify(this.#data);
      } else {
        this.#data = data as T;
      }
    }
    return this.#data;
  }

  set data(data: T) {
    void this.data;
    this.#data = data;
  }

  /** Messages for the next request. */
  get flash(): Flash {
    const { attributes } = this.#read();
    return (this.#flash ??= new Flash(attributes.flash ?? {}));
  }

  /** Who is signed in: what {@link Session.authenticate} was given. `null` if nobody is. */
  get subject(): string | null {
    const { attributes } = this.#read();
    return this.#subject ?? attributes.sub ?? null;
  }

  /** Whether the client has no session yet: it gets one when something is written. */
  get isNew(): boolean {
    this.#read();
    return this.#opened === null && !this.#destroyed;
  }

  /** Why the request's cookie was refused; `null` if it was good, or if there was none. */
  get rejected(): Rejection | null {
    this.#read();
    return this.#rejected;
  }

  /** The session's public name, for logs, metrics and deny-lists: nobody can sign in with it. `null` until the session is saved. */
  get key(): string | null {
    const { sid } = head(this.#read());
    return this.#opened === null ? null : this.#origin.provider.key(sid);
  }

  /** When the session began. */
  get createdAt(): Date {
    return new Date(head(this.#read()).iat);
  }

  /** When the session ends, unless a request extends it. */
  get expiresAt(): Date {
    const { abs } = head(this.#read());
    const { now, provider } = this.#origin;
    return new Date(this.#opened?.expiresAt ?? Math.min(now + provider.about.idle, abs));
  }

  /** When the session ends, whatever requests do. */
  get absoluteEnd(): Date {
    return new Date(head(this.#read()).abs);
  }

  /** When the subject last signed in, for pages that want a recent proof; `null` before the commit that follows `authenticate`. */
  get authenticatedAt(): Date | null {
    const { auth = null } = this.#read().attributes;
    return auth === null || this.subject === null ? null : new Date(auth);
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

  /** Gives a session that begins to a subject who signed in elsewhere: nothing was proved here. @internal */
  adopt(subject: string): void {
    this.#subject = subject;
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
    this.#opened = null;
    this.#payload = begun(this.#origin.provider, this.#origin.now);
    this.#data = this.#origin.initial();
    this.#flash = undefined;
    this.#subject = null;
    this.#authenticated = false;
  }

  /** The payload. From here on a response depends on the cookie. */
  #read(): Payload {
    this.#touched = true;
    return (this.#payload ??= this.#parse());
  }

  #parse(): Payload {
    if (this.#opened !== null) {
      const said = read(this.#opened.payload);
      if (said !== null) return said;
      // Authentic, but of a later version of the format: to this one it is no session.
      this.#opened = null;
      this.#rejected = 'malformed';
    }
    return begun(this.#origin.provider, this.#origin.now);
  }

  #draft(now: number): Draft | null {
    if (this.#destroyed) return null;
    const { provider, who, wanted } = this.#origin;
    const payload = (this.#payload ??= this.#parse());
    const flash = this.#flash?.changes();
    const begins = this.#opened === null;
    const changed = flash !== undefined || this.#subject !== null || (begins ? wanted : this.#regenerated);
    const data = begins ? this.#newData(changed) : this.#changedData(payload.json);
    const changes: Changes | null =
      changed || data !== null
        ? { subject: this.#subject, authenticated: this.#authenticated, regenerated: this.#regenerated, flash, data }
        : null;
    return draft(provider, payload, this.#opened, who, changes, now);
  }

  /** The data of a session that begins, if it has to be saved: all of it, when anything else is. */
  #newData(changed: boolean): string | null {
    if (!changed && this.#data === undefined) return null;
    const text = stringify(this.data);
    return changed || text !== this.#initially ? text : null;
  }

  #changedData(before: string): string | null {
    if (this.#data === undefined) return null;
    const text = stringify(this.#data);
    // What Rust wrote may differ in form: it is compared in the form that JavaScript gives it.
    return text === before || text === stringify(JSON.parse(before)) ? null : text;
  }

  /** Goes on from what was sealed, with the same data object: the application may hold it. */
  #accept({ payload, expiresAt }: Draft): void {
    this.#opened = { payload, expiresAt, index: 0, oldKey: false };
    this.#payload = undefined;
    this.#flash = undefined;
    this.#subject = null;
    this.#authenticated = false;
    this.#regenerated = false;
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
