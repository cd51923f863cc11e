/** The Redis values of the Crystal library `session`: `native/src/import/crystal.rs` for runtimes that reach its Redis. */
import { type CrystalOptions, Keys, open, read } from './crystal.js';
import { gunzip, isGzip, toText, utf8 } from './encoding.js';
import type { Foreign, Refusal, Source } from './source.js';

/** Where the records of the Crystal library lie: a client of its Redis. */
export interface OldRecords {
  /**
   * The value under a name, `session:<id>`; `null` if there is none. As bytes where `compress_data` was on: text can't hold them. What it throws is thrown by
   * `load`: a server that is down makes nobody anonymous.
   */
  get(name: string): Promise<Uint8Array | string | null>;
  /**
   * Ends it, with the commit that gives the client a cookie of ours: so it is imported once (requests that come together may each get a session). A page's other
   * requests may be on their way without the new cookie: deleted at once, the value is not there for them, and they are answered as an anonymous visitor's. So let
   * it expire some seconds later, `redis.expire(name, 10)`. Leave it out while services in Crystal need the session: a copy of the cookie can then be imported
   * until the end date.
   */
  delete?(name: string): Promise<unknown>;
}

const ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;
/** As many characters as the largest session has when it is sealed. */
const MAX_LENGTH = 1 << 21;

/**
 * What its `RedisStore` keeps under `session:<id>`, for the id in the cookie `<session_key>`.
 *
 * @param options `sessionKey` is its `session_key`, by default `_session`; `sealed` what `encrypt_redis_data` sealed with, if it was on.
 * @throws SecretError ConfigError for what the library would not have taken.
 * @example
 * crystalRecords({ records: { get: (name) => redis.getBuffer(name), delete: (name) => redis.expire(name, 10) }, sealed: { secret, kdf: {} } })
 */
export function crystalRecords({ sessionKey = '_session', records, sealed }: { sessionKey?: string; records: OldRecords; sealed?: CrystalOptions }): Source {
  const keys = sealed === undefined ? null : new Keys(sealed);

  async function opened(value: Uint8Array | string, now: number): Promise<Uint8Array<ArrayBuffer> | Refusal> {
    if (value.length > MAX_LENGTH) return 'malformed';
    if (keys !== null) return open(keys, typeof value === 'string' ? value : (toText(Uint8Array.from(value)) ?? ''), now);
    const bytes = typeof value === 'string' ? utf8.encode(value) : Uint8Array.from(value);
    return isGzip(bytes) ? ((await gunzip(bytes)) ?? 'inflate') : bytes;
  }

  return {
    cookieNames: [sessionKey],
    open: async (cookies, now): Promise<Foreign | Refusal | null> => {
      const id = cookies(sessionKey);
      // An id that the library didn't make isn't asked for.
      if (id === null || !ID.test(id)) return null;
      const name = `session:${id}`;
      const value = await records.get(name);
      if (value === null) return null;
      const json = await opened(value, now);
      const found = typeof json === 'string' ? json : read(json, now, id);
      return typeof found === 'string' ? found : { ...found, forget: async () => records.delete?.(name) };
    },
  };
}
