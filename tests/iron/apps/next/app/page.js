import { getIronSession } from 'iron-session';
import { cookies } from 'next/headers';

/** A page that iron-session signs in. */
export default async function Page() {
  const session = await getIronSession(await cookies(), { cookieName: 'my-app', password: process.env.IRON_PASSWORD });
  return <p>user:{String(session.userId ?? 'nobody')}</p>;
}
