/** The rival that is a native addon: for all but workerd. */
import secureSession from '@fastify/secure-session';
import Fastify from 'fastify';

export async function fastify() {
  const app = Fastify();
  await app.register(secureSession, { key: crypto.getRandomValues(Buffer.alloc(32)) });
  return {
    seal: (data) => app.encodeSecureSession(app.createSecureSession({ data })),
    open: (value) => app.decodeSecureSession(value).get('data'),
  };
}
