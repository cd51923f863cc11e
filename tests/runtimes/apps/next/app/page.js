import { cookies } from 'next/headers';
import { createSessions } from 'session-edge';
import { loadFrom } from 'session-edge/next';

const sessions = createSessions({ secret: process.env.SESSION_SECRET });

export default async function Page() {
  const session = loadFrom(sessions, await cookies());
  return <p>visits:{String(session.data.visits)}</p>;
}
