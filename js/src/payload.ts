/** What a session's token says, in the words of `core/FORMAT.md`, and the rules by which a save changes it: those of `core/src/lifecycle/`. */
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

/** The first line of a payload: whose session it is, rotations, beginning and end, saves. Times are milliseconds since the epoch. @internal */
export interface Head {
  sid: string;
  rot: number;
  iat: number;
  abs: number;
  last: number;
}

/** Second line: what not every session has. There may be others, which are kept. `null` stands for absence. @internal */
export interface Attributes {
  sub?: string | null | undefined;
  auth?: number | null | undefined;
  epoch?: number | null | undefined;
  bind?: Binding | null | undefined;
  flash?: Record<string, string> | undefined;
}

/** Both lines: all that a reference has. @internal */
export interface Lines {
  /** As it stands there: most requests need nothing of it. */
  first: string;
  attributes: Attributes;
}

/** And the application's data, as it stands there and as it was read. @internal */
export interface Payload extends Lines {
  json: string;
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

/** The id, and four numbers in the one way to write them. */
const FIRST_LINE = /^[\w-]{21}[AQgw](?:\.(?!0\d)\d+){4}\n/;

/** What the payload of a session says that lies in its cookie; `null` if it can't be read: authentic, but of a later version. @internal */
export function read(payload: string): Payload | null {
  const lines = readLines(payload);
  if (lines === null) return null;
  const json = payload.slice(lines.end + 1);
  const data = parse(json);
  return data === undefined ? null : { first: lines.first, attributes: lines.attributes, json, data };
}

/** What a reference says; `null` if it can't be read. Behind `end` anything may stand. @internal */
export function readLines(payload: string): (Lines & { end: number }) | null {
  if (!FIRST_LINE.test(payload)) return null;
  const first = payload.indexOf('\n');
  const second = payload.indexOf('\n', first + 1);
  const end = second === -1 ? payload.length : second;
  const text = payload.slice(first + 1, end);
  const attributes = text === '' ? {} : parse(text);
  if (typeof attributes !== 'object' || attributes === null || Array.isArray(attributes)) return null;
  return { first: payload.slice(0, first), attributes, end };
}

/** What the first line says. @internal */
export function head({ first }: Lines): Head {
  const [sid = '', ...digits] = first.split('.');
  const [rot = 0, iat = 0, abs = 0, last = 0] = digits.map(Number);
  return { sid, rot, iat, abs, last };
}

/** `undefined` for what is no JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether the client is the one that the session is bound to. A session that isn't bound yet takes anyone. @internal */
export function isBoundTo(provider: Provider, lines: Lines, who: BoundTo): boolean {
  const { bind } = lines.attributes;
  if (bind === undefined || bind === null) return true;
  const { bindsIp, bindsUserAgent } = provider.about;
  const asked = provider.bind(head(lines).sid, bind.kid, who);
  return asked?.ip === (bindsIp ? bind.ip : undefined) && asked?.ua === (bindsUserAgent ? bind.ua : undefined) && asked !== null;
}

/** The payload of a session that begins, with nothing in it. @internal */
export function begun(provider: Provider, now: number): Payload {
  return { first: `.0.${now}.${now + provider.about.absolute}.0`, attributes: {}, json: '{}', data: {} };
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
  const { attributes } = payload;
  const before = head(payload);
  // A binding under an older key is made anew, like one that isn't there.
  const rebind = (bindsIp || bindsUserAgent) && (!attributes.bind || attributes.bind.kid !== provider.bind(before.sid, null, who)?.kid);
  const signsIn = changes !== null && changes.authenticated;
  // Who signs in gets all of both timeouts, as in Rust; the same subject again keeps a later end (a session that is remembered).
  const handedOver = signsIn && changes.subject !== attributes.sub;
  const abs = signsIn ? Math.max(now + provider.about.absolute, handedOver ? 0 : before.abs) : before.abs;
  const extended = Math.min(now + idle, abs);

  if (changes === null && !(rebind && opened !== null)) {
    if (opened === null) return null;
    const gain = slides ? extended - opened.expiresAt : 0;
    const due = gain >= idle / 10 || (gain > 0 && extended === abs);
    return due || opened.oldKey ? { payload: opened.payload, expiresAt: due ? extended : opened.expiresAt } : null;
  }

  const { subject = null, authenticated = false, regenerated = false, flash, data = null } = changes ?? {};
  const { sub, auth, epoch, bind, flash: arrived, ...later } = attributes;
  const messages = flash ?? arrived ?? {};
  const sid = opened === null ? newId() : before.sid;
  const rot = before.rot + (opened !== null && (regenerated || subject !== null) ? 1 : 0);
  const second = JSON.stringify({
    sub: subject ?? sub,
    auth: authenticated ? now : auth,
    // The epoch counts how often Rust revoked the sessions of the subject before: of another one it says nothing.
    epoch: subject === null ? epoch : undefined,
    bind: (rebind ? provider.bind(sid, null, who) : bind) ?? undefined,
    flash: Object.keys(messages).length === 0 ? undefined : messages,
    ...later,
  } satisfies Attributes);
  return {
    payload: `${sid}.${rot}.${before.iat}.${abs}.${before.last + 1}\n${second === '{}' ? '' : second}\n${data ?? payload.json}`,
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
