/** A fetch handler that answers with the report of the runtime it runs in. */
import * as api from 'session-edge';
import { data } from '../data.mjs';
import { report } from '../scenario.mjs';

export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/report':
        return Response.json(await report(api, data));
      case '/derive': {
        const { name, message } = await api.deriveSessions({ secret: 'correct horse battery staple' }).catch((error) => error);
        return Response.json({ name, message });
      }
      default:
        return new Response('up');
    }
  },
};
