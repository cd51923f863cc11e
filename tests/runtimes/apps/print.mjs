/** Prints the report of the runtime that runs it. */
import * as edge from 'session-edge';
import * as moving from 'session-edge/import';
import { data } from '../data.mjs';
import { report } from '../scenario.mjs';

console.log(JSON.stringify(await report({ ...edge, ...moving }, data)));
