import { prepare } from './lib.mjs';

prepare();
