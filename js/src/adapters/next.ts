/**
 * Next.js: `middleware.ts` (or `proxy.ts`), route handlers, and the cookie store of server components and actions.
 *
 * @example
 * // middleware.ts: what it writes is seen by the page of the same request, too
 * export const middleware = withSession(sessions, (request, session) => {
 *   session.data.visits = (session.data.visits ?? 0) + 1;
 *   return NextResponse.next();
 * });
 *
 * // app/actions.ts
 * const jar = await cookies();
 * const session = loadFrom(sessions, jar);
 * session.flash.set('notice', 'Saved');
 * await commitTo(sessions, session, jar);
 */
import { saidToCaches } from '../caching.js';
import { type JarOptions, parseSetCookie } from '../cookie-jar.js';
import type { Session } from '../session.js';
import type { Client, HandlerOptions, Sessions } from '../sessions.js';

/** What `cookies()` of `next/headers` gives, and the `cookies` of a `NextRequest`. */
export interface ReadableCookies {
  get(name: string): { readonly value: string } | undefined;
}

/** What `cookies()` gives in a server action or route handler, and the `cookies` of a `NextResponse`. */
export interface WritableCookies {
  set(name: string, value: string, options: JarOptions): unknown;
}

/** The session in a cookie store. */
export function loadFrom<T extends object>(sessions: Sessions<T>, cookies: ReadableCookies, client?: Client): Session<T> {
  const cookie = cookies.get(sessions.cookieName);
  return sessions.load(cookie === undefined ? null : `${sessions.cookieName}=${cookie.value}`, client);
}

/** Saves the session into a cookie store. Server components can't set cookies: call it in actions, route handlers and middleware. */
export async function commitTo<T extends object>(sessions: Sessions<T>, session: Session<T>, cookies: WritableCookies): Promise<void> {
  const line = await sessions.setCookie(session);
  if (line === null) return;
  const { name, value, options } = parseSetCookie(line);
  cookies.set(name, value, options);
}

/**
 * A middleware or route handler that gets the session too. What a middleware that goes on with `NextResponse.next()` writes is seen by the
 * page or route handler of the same request: the cookie goes both to the browser and into the request. `onUnsaved` answers for a session that can't be saved, as in
 * {@link Sessions.handler}.
 */
export function withSession<T extends object, R extends Request, Rest extends unknown[]>(
  sessions: Sessions<T>,
  handle: (request: R, session: Session<T>, ...rest: Rest) => Response | Promise<Response>,
  options?: HandlerOptions,
): (request: R, ...rest: Rest) => Promise<Response> {
  return async (request, ...rest) => {
    const session = sessions.load(request);
    const response = await handle(request, session, ...rest);
    try {
      return await commit(sessions, session, request, response);
    } catch (error) {
      return sessions.unsaved(error, session, response, request, options);
    }
  };
}

async function commit<T extends object>(sessions: Sessions<T>, session: Session<T>, request: Request, response: Response): Promise<Response> {
  const { cookies } = response as { cookies?: WritableCookies };
  if (cookies === undefined) return sessions.commit(session, response);
  const { headers } = await sessions.commit(session, new Response(null, { headers: saidToCaches(response.headers) }));
  for (const [name, value] of saidToCaches(headers)) response.headers.set(name, value);
  const [line] = headers.getSetCookie();
  if (line === undefined) return response;
  const { name, value, options } = parseSetCookie(line);
  cookies.set(name, value, options);
  forward(request, response, name, value);
  return response;
}

/** Lets `NextResponse.next` say what the request's headers are to be, with the new cookie in them. */
function forward(request: Request, response: Response, name: string, value: string): void {
  const { next } = response.constructor as { next?: (init: { request: { headers: Headers } }) => Response };
  if (next === undefined || !response.headers.has('x-middleware-next')) return;
  const overridden = response.headers.get('x-middleware-override-headers')?.split(',');
  const headers = new Headers(request.headers);
  if (overridden !== undefined) {
    for (const key of [...headers.keys()]) if (!overridden.includes(key)) headers.delete(key);
    for (const key of overridden) headers.set(key, response.headers.get(`x-middleware-request-${key}`) ?? '');
  }
  const others = (headers.get('cookie') ?? '').split(';').filter((pair) => pair.trim() !== '' && pair.split('=')[0]?.trim() !== name);
  headers.set('cookie', [...others, ...(value === '' ? [] : [`${name}=${value}`])].join(';'));
  for (const [key, header] of next({ request: { headers } }).headers) {
    if (key.startsWith('x-middleware-')) response.headers.set(key, header);
  }
}
