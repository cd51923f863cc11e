/**
 * Node's `http`, and what is built on it: Express, Connect, Polka.
 *
 * @example
 * createServer((req, res) => {
 *   const session = attachSession(sessions, req, res);
 *   session.data.visits = (session.data.visits ?? 0) + 1;
 *   res.end(`visit ${session.data.visits}`); // the cookie goes out with the headers
 * });
 *
 * app.use(sessionMiddleware(sessions)); // Express: `req.session`
 */
import type { Session } from '../session.js';
import type { Client, Sessions } from '../sessions.js';

/** What is needed of Node's `IncomingMessage`. */
export interface NodeRequest {
  readonly headers: { readonly [name: string]: string | string[] | undefined };
  readonly socket: { readonly remoteAddress?: string | undefined };
}

/** What is needed of Node's `ServerResponse`. */
export interface NodeResponse {
  // Node has several shapes of it; all are passed on.
  writeHead(...args: never[]): unknown;
  getHeader(name: string): number | string | string[] | undefined;
  setHeader(name: string, value: number | string | readonly string[]): unknown;
}

const attached = new WeakMap<NodeRequest, Session<never>>();

/**
 * The session of a request, committed when the response's headers leave. Asking twice gives the same session.
 *
 * The client's address is that of the connection (the option `clientAddress` takes a `Request`, and isn't asked): behind a proxy pass the one that
 * the proxy vouches for.
 */
export function attachSession<T extends object>(sessions: Sessions<T>, req: NodeRequest, res: NodeResponse, client?: Client): Session<T> {
  const known = attached.get(req);
  if (known !== undefined) return known as unknown as Session<T>;
  const session = sessions.load(req, { ip: req.socket.remoteAddress ?? null, ...client });
  attached.set(req, session as never);

  const writeHead = res.writeHead as (...args: unknown[]) => unknown;
  res.writeHead = (...args: unknown[]) => {
    // Once: an error page that answers for a session which can't be saved must get out.
    res.writeHead = writeHead as NodeResponse['writeHead'];
    const headers = args.at(-1);
    // Headers of the call would replace ours: set them before.
    if (typeof headers === 'object' && headers !== null) {
      setAll(res, args.pop() as object);
    }
    const { cookie, varies } = sessions.prepare(session);
    if (cookie !== null) {
      res.setHeader('set-cookie', [...list(res.getHeader('set-cookie')), cookie]);
      res.setHeader('cache-control', 'no-store');
    } else if (varies && res.getHeader('cache-control') === undefined) {
      res.setHeader('cache-control', 'private');
    }
    if (varies && !list(res.getHeader('vary')).some((value) => /(^|,)\s*(cookie|\*)\s*(,|$)/i.test(value))) {
      res.setHeader('vary', [...list(res.getHeader('vary')), 'Cookie'].join(', '));
    }
    return writeHead.apply(res, args);
  };
  return session;
}

/**
 * A middleware for Express and Connect that puts the request's session into `req.session`.
 *
 * @param client Who asks, where it isn't the connection's other end. Express behind a proxy, with its `trust proxy`: `(req) => ({ ip: req.ip })`.
 */
export function sessionMiddleware<T extends object, R extends NodeRequest = NodeRequest>(sessions: Sessions<T>, client?: (req: R) => Client) {
  return (req: R, res: NodeResponse, next: (error?: unknown) => void): void => {
    try {
      (req as R & { session: Session<T> }).session = attachSession(sessions, req, res, client?.(req));
    } catch (error) {
      return next(error);
    }
    next();
  };
}

/** The headers that `writeHead` takes: an object, or names and values in a row or in pairs. */
function setAll(res: NodeResponse, headers: object): void {
  const pairs = Array.isArray(headers) ? pairsOf(headers) : Object.entries(headers);
  const values = new Map<string, (string | number)[]>();
  for (const [name, value] of pairs) {
    if (value === undefined) continue;
    values.set(name, [...(values.get(name) ?? []), ...(Array.isArray(value) ? value : [value])]);
  }
  for (const [name, [first = '', ...more]] of values) res.setHeader(name, more.length === 0 ? first : [first, ...more].map(String));
}

function pairsOf(headers: unknown[]): [string, string | string[] | undefined][] {
  const flat = Array.isArray(headers[0]) ? headers.flat(1) : headers;
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, flat[2 * i + 1] as string | string[]]);
}

const list = (value: number | string | string[] | undefined): string[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [String(value)];
