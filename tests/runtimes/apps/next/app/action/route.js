import { cookies } from 'next/headers';
import { createSessions } from 'session-edge';
import { commitTo, loadFrom } from 'session-edge/next';

const sessions = createSessions({ secret: process.env.SESSION_SECRET });

/** Through the cookie store, as a server action does it. */
export async function POST() {
  const jar = await cookies();
  const session = loadFrom(sessions, jar);
  session.authenticate('42');
  await commitTo(sessions, session, jar);
  return Response.json({ visits: session.data.visits });
}
