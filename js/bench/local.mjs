/** Runs in the runtime that is measured: Node, Deno or Bun. Prints the results as JSON. */
import process from 'node:process';
import * as edge from '../dist/index.js';
import { compare, contender, effort } from './measure.mjs';
import { rivals } from './rivals.mjs';
import { fastify } from './rivals-node.mjs';

const smoke = process.argv.includes('--smoke');
const makers = { ...rivals(edge), '@fastify/secure-session': fastify };
const contenders = new Map();
for (const [name, make] of Object.entries(makers)) contenders.set(name, await contender(make));

const time = async (name, operation, size, count) => {
  const run = contenders.get(name);
  const before = process.cpuUsage();
  await run(operation, size, count);
  const { user, system } = process.cpuUsage(before);
  return user + system;
};
console.log(JSON.stringify(await compare([...contenders.keys()], time, effort(smoke))));
