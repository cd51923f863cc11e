import * as edge from 'session-edge';
import * as moving from 'session-edge/import';
import { data } from '../../data.mjs';
import { report } from '../../scenario.mjs';

export const GET = async () => Response.json(await report({ ...edge, ...moving }, data));
