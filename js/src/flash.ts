/**
 * Messages for the next request, shown once: "Profile saved" after a redirect.
 *
 * A message that one request sets is seen by the first later request that looks at the flash, and is then gone. A request that
 * doesn't look (an image, a poll) leaves it for the one that does.
 *
 * @example
 * session.flash.set('notice', 'Profile saved'); // in the form's handler, before the redirect
 * const notice = session.flash.get('notice'); // in the page it leads to
 */
export class Flash {
  readonly #now: Map<string, string>;
  readonly #next = new Map<string, string>();
  #seen = false;
  #cleared = false;

  /** @internal */
  constructor(arrived: Readonly<Record<string, string>>) {
    this.#now = new Map(Object.entries(arrived));
  }

  /** The message under `key`: one of the request before, else one that was set in this request; `null` if there is none. */
  get(key: string): string | null {
    this.#seen = true;
    return this.#now.get(key) ?? this.#next.get(key) ?? null;
  }

  /** Whether there is a message under `key`. */
  has(key: string): boolean {
    return this.get(key) !== null;
  }

  /** All messages as {@link Flash.get} finds them, by key. */
  all(): Record<string, string> {
    this.#seen = true;
    return Object.fromEntries([...this.#next, ...this.#now]);
  }

  /** Sets a message for the next request. */
  set(key: string, message: string): void {
    this.#next.set(key, message);
  }

  /** Keeps a message of the request before for the next one too; without a key, all of them. */
  keep(key?: string): void {
    for (const [name, message] of this.#now) {
      if (key === undefined || name === key) this.#next.set(name, message);
    }
  }

  /** Takes back a message that was set in this request. */
  discard(key: string): void {
    this.#next.delete(key);
  }

  /** Drops everything: another user signed in. @internal */
  clear(): void {
    this.#next.clear();
    this.#now.clear();
    this.#cleared = true;
  }

  /** All messages for the next request, if this one changed them: those that it set, and those that nobody looked at. @internal */
  changes(): Record<string, string> | undefined {
    const used = this.#seen && this.#now.size > 0;
    if (!used && !this.#cleared && this.#next.size === 0) return undefined;
    return Object.fromEntries(this.#seen ? this.#next : [...this.#now, ...this.#next]);
  }
}
