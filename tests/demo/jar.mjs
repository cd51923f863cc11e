// A browser's cookies, without a browser.

/** A client that keeps every cookie it is given, and sends all it has. */
export class Jar {
  constructor(url, cookies = {}) {
    this.url = url;
    this.cookies = new Map(Object.entries(cookies));
  }

  async send(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        cookie: [...this.cookies].map((pair) => pair.join('=')).join('; '),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'manual',
    });
    const set = response.headers.getSetCookie();
    for (const line of set) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      if (/; Max-Age=0(;|$)/.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const text = await response.text();
    const json = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, set, body: json ? JSON.parse(text) : text };
  }

  get = (path) => this.send('GET', path);
  post = (path, body) => this.send('POST', path, body);
  me = async () => (await this.get('/api/me')).body;
}
