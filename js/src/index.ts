export { createSessions, deriveSessions, generateSecret } from './create.js';
export * from './errors.js';
export type { Flash } from './flash.js';
export type { BaseOptions, ClientBinding, CookieOptions, DeriveOptions, KeyDerivation, Preset, SessionOptions } from './options.js';
export type { Rejection } from './payload.js';
export type { Session } from './session.js';
export type { Client, HandlerOptions, Sessions, Verification } from './sessions.js';
export type { CookieSource, HeaderSource } from './sources.js';
