import * as api from 'session-edge';
import { data } from './data.mjs';
import { report } from './scenario.mjs';

addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', (event) => {
  if (new URL(event.request.url).pathname === '/report') event.respondWith(report(api, data).then((found) => Response.json(found)));
});
