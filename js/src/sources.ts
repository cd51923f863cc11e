/** Where cookies come from: anything that has them. */

/** A header collection of any runtime: `Headers`, or Node's plain object. */
export type HeaderSource = { get(name: string): string | null } | { readonly [name: string]: string | readonly string[] | undefined };

/** What {@link Sessions.load} takes: a `Request`, Node's `IncomingMessage`, `Headers`, or the text of a `Cookie` header. */
export type CookieSource = string | null | undefined | HeaderSource | { headers: HeaderSource };

/** A header of a source, and whether the source can have any. @internal */
export function header(source: CookieSource, name: 'cookie' | 'user-agent'): string | null {
  if (source === null || source === undefined) return null;
  if (typeof source === 'string') return name === 'cookie' ? source : null;
  const headers = ('headers' in source && typeof source.headers === 'object' ? source.headers : source) as HeaderSource;
  if (typeof headers.get === 'function') return (headers.get as (name: string) => string | null)(name);
  const value = (headers as Record<string, string | readonly string[] | undefined>)[name];
  return typeof value === 'string' ? value : value === undefined ? null : value.join('; ');
}
