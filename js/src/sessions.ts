import { tellCaches } from './caching.js';
import { ClientAddressError, CookieTooLargeError, SessionError } from './errors.js';
import type { BaseOptions } from './options.js';
import { type Draft, type Rejection, head, isBoundTo, read, readLines } from './payload.js';
import { type BoundTo, type Opened, Provider } from './provider.js';
import { seal } from './seal.js';
import { Session, access } from './session.js';
import { type CookieSource, header } from './sources.js';

/** What is known about the client of a request, where sessions are bound to clients. */
export interface Client {
  /** The client's address, from a source that the client can't write. */
  ip?: string | null;
  /** The `User-Agent`; by default the request's. */
  userAgent?: string | null;
}

/** What a reference token says: the session itself lies in a store, behind the Rust service. */
export type Verification =
  | {
      /** The token is authentic, and not expired. */
      valid: true;
      /** Who is signed in. */
      subject: string | null;
      /** The session's public name: what the store keeps it under, and what a deny-list or a log may hold. */
      key: string;
      /** How often the session was rotated before this token. */
      rotation: number;
      /** When the token expires. */
      expiresAt: Date;
      /** When the session ends in any case. */
      absoluteEnd: Date;
    }
  | {
      valid: false;
      /** Why the cookie was refused; `null` if there is none. */
      rejected: Rejection | null;
    };

/** What {@link Sessions.handler} takes besides the handler. */
export interface HandlerOptions {
  /**
   * Answers when the session can't be saved: because it is too large for a cookie, or holds what JSON can't. The client keeps the cookie from before, so with
   * the handler's own `response` the visitor goes on with what that says. What the handler itself throws does not come here.
   * @default 413 with the two sizes for a `CookieTooLargeError`, as in Rust; other errors are thrown
   * @example (error, response) => (console.error(error), response)
   */
  onUnsaved?: (error: SessionError, response: Response, request: Request) => Response | Promise<Response>;
}

/**
 * Whether WebCrypto seals a payload of this length cheaper. In workerd it runs on the calling thread, and does from 700 bytes on, also where there is
 * `node:crypto`; elsewhere it goes through a pool of threads, which costs more than it saves. What is too large for a cookie is only to be refused.
 */
const worthWebCrypto = (length: number): boolean =>
  length >= 700 && length <= 4096 && globalThis.navigator?.userAgent === 'Cloudflare-Workers';

/**
 * Loads, saves and checks sessions that lie in an encrypted cookie. Made by `createSessions` or `deriveSessions`; keeps nothing between
 * requests and may be shared by all of them.
 */
export class Sessions<T extends object = Record<string, unknown>> {
  readonly #provider: Provider;
  readonly #secret: string;
  readonly #initial: () => T;
  readonly #now: () => number;
  readonly #clientAddress: BaseOptions['clientAddress'];
  readonly #compress: boolean;

  /** @internal */
  constructor(options: BaseOptions & { initial?: () => T }) {
    this.#provider = Provider.of(options);
    this.#secret = options.secret;
    this.#initial = options.initial ?? (() => ({}) as T);
    const { now } = options;
    // Tokens hold whole milliseconds.
    this.#now = now === undefined ? Date.now : () => Math.floor(now());
    this.#clientAddress = options.clientAddress;
    this.#compress = options.compress ?? false;
  }

  /** The name of the cookie. */
  get cookieName(): string {
    return this.#provider.about.cookie;
  }

  /**
   * The session of a request. Synchronous, and never throws for a bad cookie: then the session is a new one, and `session.rejected` says
   * why.
   *
   * @param source A `Request`, Node's `IncomingMessage`, `Headers`, or the text of a `Cookie` header.
   * @param client Who asks, where sessions are bound to clients.
   * @throws ClientAddressError if sessions are bound to addresses and this request's is not known.
   * @example
   * const session = sessions.load(request);
   * if (session.subject === null) return new Response(null, { status: 401 });
   */
  load(source: CookieSource, client?: Client): Session<T> {
    const cookies = header(source, 'cookie');
    const who = this.#who(source, client);
    const now = this.#now();
    const found = cookies === null ? null : this.#open(cookies, who, now);
    return typeof found === 'string' ? this.#session(who, now, null, found, false) : this.#session(who, now, found, null, false);
  }

  /** A new session, whatever the request has. It is saved by the next commit, also if nothing is written to it. */
  create(client?: Client): Session<T> {
    return this.#session(this.#who(null, client), this.#now(), null, null, true);
  }

  /**
   * Saves the session into a response: a copy of `response` with the cookie, if the client needs one.
   *
   * With a cookie comes `Cache-Control: no-store`; when the session was looked at, `Vary: Cookie` and, unless the response says something of its own,
   * `Cache-Control: private`. A session that nothing was written to
   * sends nothing, and a cookie that was refused is left alone: it may be one of before a rotation, with the good one on its way.
   *
   * @throws CookieTooLargeError NotJsonError; nothing was sent then.
   * @example
   * return await sessions.commit(session, Response.redirect(new URL('/', request.url)));
   */
  async commit(session: Session<T>, response: Response): Promise<Response> {
    return answered(session, response, await this.setCookie(session));
  }

  /**
   * Saves the session into the value of a `Set-Cookie` header, for frameworks that have no `Response`; `null` if nothing is to be sent.
   *
   * @throws CookieTooLargeError NotJsonError; the session is as it was then, and can be committed again with less in it.
   * @example
   * const cookie = await sessions.setCookie(session);
   * if (cookie !== null) headers.append('set-cookie', cookie);
   */
  async setCookie(session: Session<T>): Promise<string | null> {
    const now = this.#now();
    const draft = access.draft(session, now);
    if (draft === null || !(this.#compress || worthWebCrypto(draft.payload.length))) return this.#save(session, draft, now);
    const token = await seal(this.#provider, this.#secret, draft, this.#compress);
    const line = this.#provider.line(token, draft.expiresAt, now);
    access.accept(session, draft);
    return line;
  }

  /**
   * As {@link Sessions.setCookie}, at once, for places that can't wait like Node's `writeHead`: costs more with large sessions, and doesn't
   * compress. Says too whether the response depends on the cookie, and has to say `Vary: Cookie`.
   *
   * @throws CookieTooLargeError NotJsonError
   */
  prepare(session: Session<T>): { cookie: string | null; varies: boolean } {
    const now = this.#now();
    return { cookie: this.#save(session, access.draft(session, now), now), varies: access.read(session) };
  }

  /**
   * Checks the cookie of a session that a store holds (a Rust service with `Sessions::new(config, store)` and the same secret), without
   * asking the store: forged and expired ones can be turned away before they reach the origin.
   *
   * It can't know of revocation: a session that was signed out still verifies until its token expires.
   *
   * @example
   * const who = sessions.verify(request);
   * if (!who.valid) return new Response(null, { status: 401 });
   */
  verify(source: CookieSource): Verification {
    const cookies = header(source, 'cookie');
    const found = cookies === null ? null : this.#provider.open(cookies, true, 0, this.#now());
    if (found === null || typeof found === 'string') return { valid: false, rejected: found };
    const said = readLines(found.payload);
    if (said === null) return { valid: false, rejected: 'malformed' };
    const { sid, rot, abs } = head(said);
    const [expiresAt, absoluteEnd] = [new Date(found.expiresAt), new Date(abs)];
    return { valid: true, subject: said.attributes.sub ?? null, key: this.#provider.key(sid), rotation: rot, expiresAt, absoluteEnd };
  }

  /**
   * A fetch handler around one that gets the session too: loads before, commits after. Other arguments (`env`, `ctx`) are passed on. `onUnsaved` answers for a
   * session that can't be saved.
   *
   * @example
   * export default {
   *   fetch: sessions.handler(async (request, session) => {
   *     session.data.visits = (session.data.visits ?? 0) + 1;
   *     return Response.json(session.data);
   *   }),
   * };
   */
  handler<Rest extends unknown[]>(
    handle: (request: Request, session: Session<T>, ...rest: Rest) => Response | Promise<Response>,
    options?: HandlerOptions,
  ): (request: Request, ...rest: Rest) => Promise<Response> {
    return async (request, ...rest) => {
      const session = this.load(request);
      const response = await handle(request, session, ...rest);
      try {
        return await this.commit(session, response);
      } catch (error) {
        return this.unsaved(error, session, response, request, options);
      }
    };
  }

  /** The answer of a handler whose session could not be saved. @internal */
  async unsaved(error: unknown, session: Session<T>, response: Response, request: Request, { onUnsaved = tooLarge }: HandlerOptions = {}): Promise<Response> {
    if (!(error instanceof SessionError)) throw error;
    return answered(session, await onUnsaved(error, response, request), null);
  }

  /** The first cookie that is good, and bound to nobody else; or why the first one was refused. */
  #open(cookies: string, who: BoundTo, now: number): Opened | Rejection | null {
    const first = this.#provider.open(cookies, false, 0, now);
    if (who === NOBODY || first === null || typeof first === 'string') return first;
    let found: Opened | Rejection | null = first;
    let rejected: Rejection | null = null;
    while (found !== null && typeof found !== 'string') {
      const said = read(found.payload);
      if (said !== null && isBoundTo(this.#provider, said, who)) return found;
      rejected ??= said === null ? 'malformed' : 'bound-elsewhere';
      found = this.#provider.open(cookies, false, found.index + 1, now);
    }
    return rejected;
  }

  #session(who: BoundTo, now: number, opened: Opened | null, rejected: Rejection | null, wanted: boolean): Session<T> {
    const hadCookie = opened !== null || rejected !== null;
    return new Session({ provider: this.#provider, now, initial: this.#initial, who, rejected, hadCookie, wanted }, opened);
  }

  #save(session: Session<T>, draft: Draft | null, now: number): string | null {
    if (access.destroyed(session)) return access.origin(session).hadCookie ? this.#provider.removal() : null;
    if (draft === null) return null;
    const line = this.#provider.seal(draft.payload, draft.expiresAt, now);
    access.accept(session, draft);
    return line;
  }

  #who(source: CookieSource, client: Client | undefined): BoundTo {
    const { bindsIp, bindsUserAgent } = this.#provider.about;
    if (!bindsIp && !bindsUserAgent) return NOBODY;
    const ip = bindsIp ? (client?.ip ?? (isRequest(source) ? this.#clientAddress?.(source) : null) ?? null) : null;
    if (bindsIp && ip === null) throw new ClientAddressError();
    return { ip, userAgent: bindsUserAgent ? (client?.userAgent ?? header(source, 'user-agent')) : null };
  }
}

const NOBODY: BoundTo = { ip: null, userAgent: null };

const isRequest = (source: CookieSource): source is Request =>
  typeof source === 'object' && source !== null && 'url' in source && 'headers' in source;

/** A response with the cookie, if the client needs one, and with what a response that depends on one has to say. */
function answered<T extends object>(session: Session<T>, response: Response, cookie: string | null): Response {
  const varies = access.read(session);
  // `Response.error()` has status 0, and can't be copied.
  if ((cookie === null && !varies) || response.status === 0) return response;
  const copy = new Response(response.body, response);
  if (cookie !== null) copy.headers.append('set-cookie', cookie);
  tellCaches(copy.headers, cookie !== null, varies);
  return copy;
}

function tooLarge(error: SessionError): Response {
  if (!(error instanceof CookieTooLargeError)) throw error;
  return new Response(error.message, { status: 413, headers: { 'cache-control': 'no-store' } });
}
