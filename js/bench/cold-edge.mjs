import { createSessions } from 'session-edge';

export default {
  async fetch(request) {
    const { secret, cookie } = await request.json();
    return new Response(String(createSessions({ secret }).load(cookie).data.userId));
  },
};
