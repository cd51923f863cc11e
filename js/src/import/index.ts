/**
 * Moving in: sessions of iron-session and of the Crystal library `session` go on as ones of this package.
 *
 * @example
 * import { createSessions } from 'session-edge';
 * import { importing, ironSession } from 'session-edge/import';
 *
 * const sessions = createSessions<User>({ secret: env.SESSION_SECRET });
 * const moving = importing(sessions, {
 *   from: ironSession({ cookieName: 'my-app', password: env.IRON_PASSWORD }),
 *   until: new Date('2027-01-31'),
 *   subject: (data) => data.userId ?? null,
 * });
 * const session = await moving.load(request);
 * return moving.commit(session, new Response('hello'));
 */
export { type CrystalOptions, crystalCookies, openCrystal } from './crystal.js';
export { type OldRecords, crystalRecords } from './crystal-records.js';
export { type ImportOptions, type Importing, importing } from './importing.js';
export { type IronOptions, ironSession, openIron, sealIron } from './iron.js';
export type { Foreign, Refusal, Source } from './source.js';
