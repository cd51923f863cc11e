import { NextResponse } from 'next/server';
import { createSessions } from 'session-edge';
import { withSession } from 'session-edge/next';

const sessions = createSessions({ secret: process.env.SESSION_SECRET });

/** Counts visits: the page of the same request sees what is written here. */
export const middleware = withSession(sessions, (request, session) => {
  if (session.rejected !== null) return new Response(null, { status: 401 });
  session.data.visits = (session.data.visits ?? 0) + 1;
  return NextResponse.next();
});

export const config = { matcher: ['/', '/edge', '/action'] };
