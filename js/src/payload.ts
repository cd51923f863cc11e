/** What a session's token says, in the words of `core/FORMAT.md`, and the rules by which a save changes it: those of `core/src/lifecycle.rs`. */
import { fillRandom } from './engine.js';
import type { BoundTo, Opened, Provider } from './provider.js';

/** Why a request's cookie was refused. For the server's own decisions: a client must not see it. The same codes as in Rust. */
export type Rejection =
  /** Not a session cookie at all. */
  | 'malformed'
  /** A reference to a stored session where a session is expected, or the other way round: see `sessions.verify`. */
  | 'wrong-cookie'
  /** Sealed with a secret that isn't configured (any more). */
  | 'unknown-key'
  /** Changed, made up, or moved from another cookie. */
  | 'forged'
  /** Past its end. */
  | 'expired'
  /** Presented by another client than the one it is bound to. */
  | 'bound-elsewhere';

/** Keyed hashes of the client that a session is bound to. @internal */
export interface Binding {
  kid: string;
  ip?: string;
  ua?: string;
}

/** Times are milliseconds since the epoch. @internal */
export interface Payload {
  sid: string;
  rot: number;
  iat: number;
  abs: number;
  ver: number;
  sub?: string;
  auth?: number;
  bind?: Binding;
  flash?: Record<string, string>;
  data: unknown;
}

/** What a request did to its session. @internal */
export interface Changes {
  /** Whom the session was given to. */
  subject: string | null;
  /** Whether by a sign-in: an imported session says whose it is, and proves nothing. */
  authenticated: boolean;
  regenerated: boolean;
  /** All messages for the next request; `undefined` if they are as before. */
  flash: Record<string, string> | undefined;
  /** JSON text; `null` if it is as before. */
  data: string | null;
}

/** What is to be sealed. @internal */
export interface Draft {
  payload: string;
  expiresAt: number;
}

/** What a payload says; `null` if it says nothing: authentic, but of a later version. @internal */
export function read(payload: string): Payload | null {
  let said: Partial<Payload> | null;
  try {
    said = JSON.parse(payload) as Partial<Payload> | null;
  } catch {
    return null;
  }
  const whole = typeof said?.sid === 'string' && typeof said.rot === 'number' && typeof said.iat === 'number' && typeof said.abs === 'number';
  return whole ? (said as Payload) : null;
}

/** Whether the client is the one that the session is bound to. A session that isn't bound yet takes anyone. @internal */
export function isBoundTo(provider: Provider, { sid, bind }: Payload, who: BoundTo): boolean {
  if (bind === undefined) return true;
  const { bindsIp, bindsUserAgent } = provider.about;
  const asked = provider.bind(sid, bind.kid, who);
  return asked?.ip === (bindsIp ? bind.ip : undefined) && asked?.ua === (bindsUserAgent ? bind.ua : undefined) && asked !== null;
}

/** The payload of a session that begins, with nothing in it. @internal */
export function begun(provider: Provider, now: number): Payload {
  return { sid: '', rot: 0, iat: now, abs: now + provider.about.absolute, ver: 0, data: {} };
}

/**
 * What is to be sealed of a session after a request; `null` if the client has all that it needs.
 *
 * @param opened What the session was loaded from; `null` for one that begins.
 * @param now The time of the commit.
 * @internal
 */
export function draft(
  provider: Provider,
  payload: Payload,
  opened: Opened | null,
  who: BoundTo,
  changes: Changes | null,
  now: number,
): Draft | null {
  const { idle, slides, bindsIp, bindsUserAgent } = provider.about;
  // A binding under an older key is made anew, like one that isn't there.
  const rebind = (bindsIp || bindsUserAgent) && (payload.bind === undefined || payload.bind.kid !== provider.bind(payload.sid, null, who)?.kid);
  const signsIn = changes !== null && changes.authenticated;
  // Who signs in gets all of both timeouts, as in Rust; the same subject again keeps a later end (a session that is remembered).
  const handedOver = signsIn && changes.subject !== payload.sub;
  const abs = signsIn ? Math.max(now + provider.about.absolute, handedOver ? 0 : payload.abs) : payload.abs;
  const extended = Math.min(now + idle, abs);

  if (changes === null && !(rebind && opened !== null)) {
    if (opened === null) return null;
    const gain = slides ? extended - opened.expiresAt : 0;
    const due = gain >= idle / 10 || (gain > 0 && extended === abs);
    return due || opened.oldKey ? { payload: opened.payload, expiresAt: due ? extended : opened.expiresAt } : null;
  }

  const { subject = null, authenticated = false, regenerated = false, flash, data = null } = changes ?? {};
  const { data: before, flash: flashBefore, bind, ...kept } = payload;
  const messages = flash ?? flashBefore ?? {};
  const sid = opened === null ? newId() : payload.sid;
  const binding = rebind ? provider.bind(sid, null, who) : bind;
  const { epoch: _, ...rest } = kept as typeof kept & { epoch?: number };
  const meta = {
    // The epoch counts how often Rust revoked the sessions of the subject before: of another one it says nothing.
    ...(subject === null ? kept : rest),
    sid,
    abs,
    rot: payload.rot + (opened !== null && (regenerated || subject !== null) ? 1 : 0),
    ver: (payload.ver ?? 0) + 1,
    ...(subject === null ? {} : { sub: subject }),
    ...(authenticated ? { auth: now } : {}),
    ...(binding === undefined || binding === null ? {} : { bind: binding }),
    ...(Object.keys(messages).length === 0 ? {} : { flash: messages }),
  };
  const head = JSON.stringify(meta).slice(0, -1);
  return {
    payload: `${head},"data":${data ?? JSON.stringify(before)}}`,
    expiresAt: opened === null || handedOver ? extended : Math.max(slides || signsIn ? extended : 0, opened.expiresAt),
  };
}

/** 128 random bits, as 22 characters of base64url. */
function newId(): string {
  return base64url(fillRandom(new Uint8Array(16)));
}

/** base64url without padding. By the engine itself where it can: that of a large session is most of what sealing costs besides encryption. @internal */
export function base64url(bytes: Uint8Array): string {
  const { toBase64 } = bytes as { toBase64?: (options: { alphabet: 'base64url'; omitPadding: true }) => string };
  if (toBase64 !== undefined) return toBase64.call(bytes, { alphabet: 'base64url', omitPadding: true });
  let binary = '';
  // Arguments lie on the stack.
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
