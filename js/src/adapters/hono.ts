/**
 * Hono, in every runtime that it runs in.
 *
 * @example
 * import { session } from 'session-edge/hono';
 *
 * const app = new Hono<{ Variables: SessionVariables<UserSession> }>();
 * app.use(session(sessions));
 * app.get('/', (c) => c.text(`hello ${c.get('session').subject}`));
 */
import { saidToCaches } from '../caching.js';
import type { Session } from '../session.js';
import type { Sessions } from '../sessions.js';

/** For `Hono<{ Variables: SessionVariables<UserSession> }>`: types `c.get('session')`. */
export interface SessionVariables<T extends object = Record<string, unknown>> {
  session: Session<T>;
}

/** What the middleware needs of Hono's context. */
interface Context {
  readonly req: { readonly raw: Request };
  readonly res: Response;
  set(key: 'session', session: never): void;
  header(name: string, value: string, options?: { append?: boolean }): void;
}

/** A middleware that puts the request's session into `c.get('session')`, and commits it with the response. */
export function session<T extends object>(sessions: Sessions<T> | ((c: never) => Sessions<T>)) {
  return async (c: Context, next: () => Promise<void>): Promise<void> => {
    const provider = typeof sessions === 'function' ? sessions(c as never) : sessions;
    const session = provider.load(c.req.raw);
    c.set('session', session as never);
    await next();
    // Hono merges headers in its own way when `c.res` is replaced: it is told only what to add.
    const { headers } = await provider.commit(session, new Response(null, { headers: saidToCaches(c.res.headers) }));
    for (const [name, value] of headers) c.header(name, value, { append: name === 'set-cookie' });
  };
}
