/** Runs in workerd: does what the address says so often as it says. Clocks stand still in there, so the caller measures. */
import * as edge from 'session-edge';
import { contender } from './measure.mjs';
import { rivals } from './rivals.mjs';

const makers = rivals(edge);
const contenders = new Map();

export default {
  async fetch(request) {
    const query = new URL(request.url).searchParams;
    const name = query.get('name');
    if (name === null) return Response.json(Object.keys(makers));
    if (!contenders.has(name)) contenders.set(name, await contender(makers[name]));
    await contenders.get(name)(query.get('operation'), Number(query.get('size')), Number(query.get('count')));
    return new Response('done');
  },
};
