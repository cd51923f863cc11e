import * as api from 'session-edge';
import { data } from '../../data.mjs';
import { report } from '../../scenario.mjs';

export const GET = async () => Response.json(await report(api, data));
