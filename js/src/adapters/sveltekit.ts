/**
 * SvelteKit.
 *
 * @example
 * // src/hooks.server.ts
 * export const handle = sessionHandle(sessions);
 *
 * // src/app.d.ts
 * declare global { namespace App { interface Locals { session: import('session-edge').Session<UserSession> } } }
 */
import type { Sessions } from '../sessions.js';

/** What the hook needs of SvelteKit's event. */
export interface Event {
  readonly request: Request;
  readonly locals: object;
  getClientAddress(): string;
}

/** A `handle` hook that puts the request's session into `event.locals.session`, and commits it with the response. */
export function sessionHandle<T extends object>(sessions: Sessions<T>) {
  return async <E extends Event>({ event, resolve }: { event: E; resolve: (event: E) => Response | Promise<Response> }): Promise<Response> => {
    // The address is asked for only if sessions are bound to it: prerendering has none.
    const session = sessions.load(event.request, {
      get ip() {
        return event.getClientAddress();
      },
    });
    Object.assign(event.locals, { session });
    return sessions.commit(session, await resolve(event));
  };
}
