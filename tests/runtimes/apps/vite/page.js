import * as edge from 'session-edge';
import * as moving from 'session-edge/import';
import { data } from './data.mjs';
import { report } from './scenario.mjs';

globalThis.inPage = () => report({ ...edge, ...moving }, data);
globalThis.inServiceWorker = async () => {
  await navigator.serviceWorker.register('/worker.js', { type: 'module' });
  await navigator.serviceWorker.ready;
  if (navigator.serviceWorker.controller === null) {
    await new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  }
  return (await fetch('/report')).json();
};
globalThis.ready = true;
