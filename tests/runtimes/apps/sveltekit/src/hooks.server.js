import { env } from '$env/dynamic/private';
import { createSessions } from 'session-edge';
import { sessionHandle } from 'session-edge/sveltekit';

export const handle = sessionHandle(createSessions({ secret: env.SESSION_SECRET, clientBinding: { ip: true } }));
