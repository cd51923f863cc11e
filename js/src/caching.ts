/**
 * What a response that depends on its session tells caches: shared ones keep nothing of it, unless the application said otherwise; of one with a new
 * cookie nobody keeps anything. As in `native/src/web/answer.rs`.
 *
 * @internal
 */
export function tellCaches(headers: Headers, setsCookie: boolean, varies: boolean): void {
  if (setsCookie) headers.set('cache-control', 'no-store');
  if (!varies) return;
  if (!headers.has('cache-control')) headers.set('cache-control', 'private');
  const vary = headers.get('vary');
  if (vary === null) headers.set('vary', 'Cookie');
  else if (vary !== '*' && !/(^|,)\s*cookie\s*(,|$)/i.test(vary)) headers.set('vary', `${vary}, Cookie`);
}

/** What headers say to caches so far. @internal */
export function saidToCaches(headers: Headers): [string, string][] {
  return ['vary', 'cache-control'].flatMap((name) => {
    const value = headers.get(name);
    return value === null ? [] : [[name, value] as [string, string]];
  });
}
