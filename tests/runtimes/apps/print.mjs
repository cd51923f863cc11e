/** Prints the report of the runtime that runs it. */
import * as api from 'session-edge';
import { data } from '../data.mjs';
import { report } from '../scenario.mjs';

console.log(JSON.stringify(await report(api, data)));
