/** What TypeScript has to accept and to refuse: compiled by `npm run lint`, never run. Imports are of the built package, as its users have it. */
import { type Session, type SessionErrorCode, CookieTooLargeError, createSessions, deriveSessions } from 'session-edge';
import { importing, ironSession } from 'session-edge/import';
import { session as honoSession } from 'session-edge/hono';
import { withSession } from 'session-edge/next';
import { sessionMiddleware } from 'session-edge/node';
import { init } from 'session-edge/slim';
import { sessionHandle } from 'session-edge/sveltekit';

interface Loose {
  theme?: 'light' | 'dark';
  visits?: number;
}
interface Strict {
  visits: number;
}

const loose = createSessions<Loose>({ secret: '' });
const session: Session<Loose> = loose.load(new Request('https://a.example'));
session.data.theme = 'dark';
session.data.visits = (session.data.visits ?? 0) + 1;
// @ts-expect-error There is no such theme.
session.data.theme = 'blue';
// @ts-expect-error There is no such field.
session.data.unknown = 1;
// @ts-expect-error Fields of the data are in `data` alone.
session.theme = 'dark';
// @ts-expect-error A subject is text.
session.authenticate(42);
// @ts-expect-error Nobody sets the subject but `authenticate`.
session.subject = 'ada';

// @ts-expect-error Data with fields that must be there needs `initial`.
createSessions<Strict>({ secret: '' });
createSessions<Strict>({ secret: '', initial: () => ({ visits: 0 }) }).load(null).data.visits += 1;
// @ts-expect-error A passphrase is for `deriveSessions`.
createSessions({ secret: '', kdf: {} });
void deriveSessions<Strict>({ secret: '', kdf: { iterations: 100_000 }, initial: () => ({ visits: 0 }) });
// @ts-expect-error No such preset.
createSessions({ secret: '', preset: 'staging' });
// @ts-expect-error `SameSite` is written small.
createSessions({ secret: '', cookie: { sameSite: 'Lax' } });

const handle: (request: Request, env: { name: string }) => Promise<Response> = loose.handler(
  (_request, session, env: { name: string }) => new Response(`${env.name} ${session.data.visits ?? 0}`),
);
void handle;

// An environment variable may be absent: then there are no previous secrets.
createSessions({ secret: '', previousSecrets: undefined as string | undefined });
const who = loose.verify(null);
// @ts-expect-error Only a valid reference has a subject.
void who.subject;
if (who.valid) void (who.subject satisfies string | null);
else void (who.rejected satisfies string | null);

const code: SessionErrorCode = new CookieTooLargeError('', 5000, 4096).code;
void code;

const moving = importing(loose, { from: ironSession({ cookieName: 'a', password: '' }), until: new Date(), subject: (data) => data.theme });
void (moving.load(null) satisfies Promise<Session<Loose>>);

void [honoSession(loose), withSession(loose, (_request, session) => new Response(session.data.theme)), sessionMiddleware(loose), sessionHandle(loose), init];
