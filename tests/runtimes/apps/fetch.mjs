/** A fetch handler that answers with the report of the runtime it runs in. */
import * as api from 'session-edge';
import { data } from '../data.mjs';
import { report } from '../scenario.mjs';

export default {
  async fetch(request) {
    return new URL(request.url).pathname === '/report' ? Response.json(await report(api, data)) : new Response('up');
  },
};
