import { createSessions } from 'session-edge';
import { importing, ironSession } from 'session-edge/import';

// The site as it is now: our cookie, which the Rust service reads and writes too; iron-session's is taken over.
const sessions = createSessions({ secret: process.env.SESSION_SECRET });
const moving = importing(sessions, {
  from: ironSession({ cookieName: 'my-app', password: process.env.IRON_PASSWORD }),
  until: new Date(Date.now() + 28 * 86_400_000),
  subject: ({ userId }) => userId,
});
const answer = ({ data: { userId = null, visits = 0 }, subject }) => Response.json({ userId, visits, subject });

export const GET = moving.handler((request, session) => answer(session));

export const POST = moving.handler(async (request, session, { params }) => {
  const { action } = await params;
  if (action === 'logout') session.destroy();
  if (action === 'login') {
    const { userId } = await request.json();
    session.authenticate(`${userId}`);
    session.data.userId = userId;
  }
  if (action === 'visit') session.data.visits = (session.data.visits ?? 0) + 1;
  return answer(session);
});
