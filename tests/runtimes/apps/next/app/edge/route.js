import { createSessions } from 'session-edge';
import { withSession } from 'session-edge/next';

export const runtime = 'edge';

const sessions = createSessions({ secret: process.env.SESSION_SECRET });

export const GET = withSession(sessions, (request, session) => Response.json({ visits: session.data.visits, edge: typeof EdgeRuntime }));
