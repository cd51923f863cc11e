import * as edge from 'session-edge';
import * as moving from 'session-edge/import';
import { data } from './data.mjs';
import { report } from './scenario.mjs';

addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', (event) => {
  if (new URL(event.request.url).pathname === '/report') event.respondWith(report({ ...edge, ...moving }, data).then((found) => Response.json(found)));
});
