import { ConfigError } from '../errors.js';
import type { Session } from '../session.js';
import type { Client, HandlerOptions, Sessions } from '../sessions.js';
import { type CookieSource, header } from '../sources.js';
import type { Refusal, Source } from './source.js';

/** What to import, and until when. */
export interface ImportOptions<T extends object> {
  /**
   * Whose sessions: `ironSession(…)`, `crystalCookies(…)`, or several.
   * @example ironSession({ cookieName: 'my-app', password: env.IRON_PASSWORD })
   */
  from: Source | readonly Source[];
  /**
   * Until when. At that time and later nothing of the other library is looked at. A copied cookie of it can be imported again and again until then
   * (or its own end): a few weeks are enough for a site whose users come back.
   * @example new Date('2027-01-31')
   */
  until: Date;
  /**
   * Who is signed in, by what the data says: becomes `session.subject`. Nothing was proved here: `session.authenticatedAt` is `null` until that user
   * signs in anew, so pages that demand a recent proof ask for one. As in Rust.
   * @default nobody is
   * @example (data) => data.userId
   */
  subject?: (data: T) => string | number | null | undefined;
  /**
   * What becomes of the other library's fields.
   * @default they are put over the initial data
   * @example ({ theme }) => ({ theme: theme === 'dark' ? 'dark' : 'light' })
   */
  data?: (fields: Record<string, unknown>) => T;
  /**
   * Is told why a session was not imported, for logs and metrics.
   * @default nobody is told
   * @example (reason) => console.warn(`not imported: ${reason}`)
   */
  onRefused?: (reason: Refusal) => void;
  /**
   * How the old cookies were set, so that they can be removed.
   * @default { path: '/', secure: true }
   * @example { domain: 'example.com' }
   */
  cookie?: { path?: string; domain?: string; secure?: boolean };
  /**
   * The clock, in milliseconds, for tests.
   * @default Date.now
   * @example () => 1_800_000_000_000
   */
  now?: () => number;
}

/** Sessions that may come from another library. Made by {@link importing}. */
export interface Importing<T extends object> {
  /**
   * The session of a request, as `sessions.load` gives it; without a cookie of ours, the one that is made of the other library's. Asynchronous because
   * that is opened by WebCrypto; never throws for a bad cookie.
   *
   * @throws ClientAddressError as `sessions.load`.
   */
  load(source: CookieSource, client?: Client): Promise<Session<T>>;
  /**
   * As `sessions.commit`; removes the other library's cookies once the client has one of ours, so that they are not imported again after a sign-out.
   *
   * @throws CookieTooLargeError NotJsonError
   */
  commit(session: Session<T>, response: Response): Promise<Response>;
  /** All `Set-Cookie` lines of a session, for frameworks that have no `Response`. */
  setCookies(session: Session<T>): Promise<string[]>;
  /** The other library's cookies that are to be removed with this session, for frameworks with a cookie store of their own. */
  stale(session: Session<T>): readonly string[];
  /** A fetch handler around one that gets the session too, as `sessions.handler`. */
  handler<Rest extends unknown[]>(
    handle: (request: Request, session: Session<T>, ...rest: Rest) => Response | Promise<Response>,
    options?: HandlerOptions,
  ): (request: Request, ...rest: Rest) => Promise<Response>;
}

/**
 * Sessions that begin with what another library knew. A request that has a cookie of ours, whatever it is worth, imports nothing.
 *
 * @throws ConfigError if `until` is no date.
 * @example
 * const moving = importing(sessions, { from: ironSession({ cookieName: 'my-app', password }), until: new Date('2027-01-31') });
 * export default { fetch: moving.handler((request, session) => new Response(session.subject)) };
 */
export function importing<T extends object>(sessions: Sessions<T>, options: ImportOptions<T>): Importing<T> {
  const sources = [options.from].flat();
  const end = options.until instanceof Date ? options.until.getTime() : Number.NaN;
  if (Number.isNaN(end)) throw new ConfigError('the option `until` is the date at which importing ends');
  const now = options.now ?? Date.now;
  const stale = new WeakMap<Session<T>, readonly string[]>();
  const forgets = new WeakMap<Session<T>, () => Promise<unknown>>();

  async function load(source: CookieSource, client?: Client): Promise<Session<T>> {
    const cookies = parse(header(source, 'cookie'));
    const at = now();
    const old = sources.flatMap(({ cookieNames }) => cookieNames).filter((name) => name !== sessions.cookieName && cookies.has(name));
    const own = sessions.load(source, client);
    // Removed only where there is a session in their stead.
    if (at >= end || old.length === 0) return own;
    if ((cookies.get(sessions.cookieName) ?? '') !== '') {
      if (!own.isNew) stale.set(own, old);
      return own;
    }
    for (const each of sources) {
      const found = await each.open((name) => cookies.get(name) ?? null, at);
      if (found === null) continue;
      if (typeof found === 'string') {
        options.onRefused?.(found);
        continue;
      }
      own.data = options.data?.(found.fields) ?? ({ ...own.data, ...found.fields } as T);
      const subject = options.subject?.(own.data) ?? null;
      if (subject !== null && subject !== '') own.adopt(String(subject));
      stale.set(own, old);
      if (found.forget !== undefined) forgets.set(own, found.forget);
      return own;
    }
    return own;
  }

  /** Once the client is to get its own cookie: what can't be sealed stays where it was. That it can't be deleted there is no reason not to answer. */
  async function forget(session: Session<T>): Promise<void> {
    await forgets.get(session)?.().catch(() => undefined);
    forgets.delete(session);
  }

  const removals = (session: Session<T>): string[] => {
    const { path = '/', domain, secure = true } = options.cookie ?? {};
    const rest = `; Path=${path}${domain === undefined ? '' : `; Domain=${domain}`}; Max-Age=0${secure ? '; Secure' : ''}`;
    return (stale.get(session) ?? []).map((name) => `${name}=${rest}`);
  };

  async function commit(session: Session<T>, response: Response): Promise<Response> {
    const committed = await sessions.commit(session, response);
    await forget(session);
    const lines = removals(session);
    if (lines.length === 0 || committed.status === 0) return committed;
    const copy = new Response(committed.body, committed);
    for (const line of lines) copy.headers.append('set-cookie', line);
    copy.headers.set('cache-control', 'no-store');
    return copy;
  }

  async function setCookies(session: Session<T>): Promise<string[]> {
    const line = await sessions.setCookie(session);
    await forget(session);
    return [...(line === null ? [] : [line]), ...removals(session)];
  }

  return {
    load,
    commit,
    setCookies,
    stale: (session) => stale.get(session) ?? [],
    handler:
      (handle, options) =>
      async (request, ...rest) => {
        const session = await load(request);
        const response = await handle(request, session, ...rest);
        try {
          return await commit(session, response);
        } catch (error) {
          return sessions.unsaved(error, session, response, request, options);
        }
      },
  };
}

/** A request's cookies; the first of those of one name, as browsers send the one of the nearest path first. */
function parse(text: string | null): Map<string, string> {
  const cookies = new Map<string, string>();
  for (const pair of text?.split(';') ?? []) {
    const at = pair.indexOf('=');
    const name = pair.slice(0, at).trim();
    if (at > 0 && !cookies.has(name)) cookies.set(name, pair.slice(at + 1).trim().replace(/^"(.*)"$/, '$1'));
  }
  return cookies;
}
