/** For frameworks whose cookies are set by name, value and options: Next.js and SvelteKit. */

/** The options that these frameworks know. */
export interface JarOptions {
  path: string;
  domain?: string;
  maxAge?: number;
  httpOnly: boolean;
  secure: boolean;
  sameSite?: 'strict' | 'lax' | 'none';
  partitioned: boolean;
}

/** Name, value and options of a `Set-Cookie` line that this package wrote. @internal */
export function parseSetCookie(line: string): { name: string; value: string; options: JarOptions } {
  const [pair = '', ...attributes] = line.split('; ');
  const equals = pair.indexOf('=');
  const given = new Map(
    attributes.map((attribute) => {
      const [name = '', value = ''] = attribute.split('=', 2);
      return [name, value];
    }),
  );
  const [domain, maxAge, sameSite] = [given.get('Domain'), given.get('Max-Age'), given.get('SameSite')];
  return {
    name: pair.slice(0, equals),
    value: pair.slice(equals + 1),
    options: {
      path: given.get('Path') ?? '/',
      ...(domain === undefined ? {} : { domain }),
      ...(maxAge === undefined ? {} : { maxAge: Number(maxAge) }),
      httpOnly: given.has('HttpOnly'),
      secure: given.has('Secure'),
      ...(sameSite === undefined ? {} : { sameSite: sameSite.toLowerCase() as 'strict' | 'lax' | 'none' }),
      partitioned: given.has('Partitioned'),
    },
  };
}
