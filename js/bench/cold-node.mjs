/** `cold-node.mjs empty|session-edge|iron-session COOKIES`: prints the CPU milliseconds from the import to the first verified cookie. */
const [, , name, json] = process.argv;
const cookies = JSON.parse(json);
const began = process.cpuUsage();
const user = await { empty, 'session-edge': edge, 'iron-session': iron }[name]();
const { user: inUser, system } = process.cpuUsage(began);
if (user !== 12345) throw new Error('not verified');
console.log((inUser + system) / 1000);

async function empty() {
  await import('./cold-empty.mjs');
  return 12345;
}

async function edge() {
  const { createSessions } = await import('../dist/index.js');
  return createSessions({ secret: cookies.secret }).load(cookies.cookie).data.userId;
}

async function iron() {
  const { unsealData } = await import('iron-session');
  return (await unsealData(cookies.seal, { password: cookies.password })).userId;
}
