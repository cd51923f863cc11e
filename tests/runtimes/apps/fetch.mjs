/** A fetch handler that answers with the report of the runtime it runs in. */
import * as edge from 'session-edge';
import * as moving from 'session-edge/import';
import { data } from '../data.mjs';
import { report } from '../scenario.mjs';

export default {
  async fetch(request) {
    return new URL(request.url).pathname === '/report' ? Response.json(await report({ ...edge, ...moving }, data)) : new Response('up');
  },
};
