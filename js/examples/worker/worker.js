/**
 * A Worker in front of a Rust service (`cargo run --release -p session-native --example login`): it turns forged and expired cookies
 * away without calling the service, and tells it who is asking in a header.
 *
 * Both must have the same SESSION_SECRET and the same cookie name.
 */
import { createSessions } from 'session-edge';

/** The service must be reachable through this Worker alone: to anyone else the header would be an open door. */
const SUBJECT = 'x-session-subject';

export default {
  async fetch(request, env) {
    const sessions = createSessions({ secret: env.SESSION_SECRET, previousSecrets: env.SESSION_PREVIOUS_SECRETS, preset: env.SESSION_PRESET });
    const { subject, rejected } = whoAsks(sessions, request);
    // Without a cookie anyone may go on: how else could they sign in?
    if (rejected !== null) return signInAgain(sessions, request);

    // Not by `new URL(path, origin)`: a path that begins with two slashes would name another host.
    const { protocol, hostname, port } = new URL(env.ORIGIN);
    const forwarded = new Request(Object.assign(new URL(request.url), { protocol, hostname, port }), request);
    // Whatever the client says about itself goes; only what the cookie proves is passed on.
    forwarded.headers.delete(SUBJECT);
    if (subject !== null) forwarded.headers.set(SUBJECT, encodeURIComponent(subject));
    return fetch(forwarded, { redirect: 'manual' });
  },
};

/** With the removal of the cookie: without it the client can begin anew. */
function signInAgain(sessions, request) {
  const session = sessions.load(request);
  session.destroy();
  return sessions.commit(session, Response.json({ error: 'sign in again' }, { status: 401 }));
}

/** The cookie is a reference if the service keeps its sessions in a store, and else the session itself. */
function whoAsks(sessions, request) {
  const reference = sessions.verify(request);
  if (reference.valid) return { subject: reference.subject, rejected: null };
  if (reference.rejected !== 'wrong-cookie') return { subject: null, rejected: reference.rejected };
  const { subject, rejected } = sessions.load(request);
  return { subject, rejected };
}
