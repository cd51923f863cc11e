import { getIronSession } from 'iron-session';
import { cookies } from 'next/headers';

// The site as it was: iron-session, by its documentation.
const load = async () => getIronSession(await cookies(), { cookieName: 'my-app', password: process.env.IRON_PASSWORD });
const answer = ({ userId = null, visits = 0 }) => Response.json({ userId, visits });

export const GET = async () => answer(await load());

export async function POST(request, { params }) {
  const { action } = await params;
  const session = await load();
  if (action === 'logout') {
    session.destroy();
    return answer({});
  }
  if (action === 'login') session.userId = (await request.json()).userId;
  if (action === 'visit') session.visits = (session.visits ?? 0) + 1;
  await session.save();
  return answer(session);
}
