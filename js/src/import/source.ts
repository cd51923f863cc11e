/** Why what another library made was refused; the codes of `session_core::interop::Refusal`. For the server alone: a client must not see it. */
export type Refusal =
  /** Not in the format at all. */
  | 'malformed'
  /** Made with a password whose id isn't known. */
  | 'unknown-password'
  /** Signed with a digest that isn't accepted, or not any more. */
  | 'digest'
  /** The signature is wrong: changed, or made with another secret. */
  | 'forged'
  /** Past its end. */
  | 'expired'
  /** Inflates to too much, or isn't what its check sum says. */
  | 'inflate'
  /** Authentic, and not the JSON of a session. */
  | 'data';

/** A session of another library. */
export interface Foreign {
  /** The application's fields. */
  fields: Record<string, unknown>;
  /** When it ends there, in milliseconds; `null` if it says nothing of an end. */
  expiresAt: number | null;
  /** Deletes it there: it has been imported. */
  forget?: () => Promise<unknown>;
}

/** The sessions of another library. Made by `ironSession` and `crystalCookies`. */
export interface Source {
  /** The cookies that a session may lie in: what is removed once it was imported. */
  readonly cookieNames: readonly string[];
  /**
   * The session in a request's cookies, checked; why there is none; `null` if there is nothing.
   *
   * @param cookies The value of a cookie, or `null`.
   * @param now The time in milliseconds.
   */
  open(cookies: (name: string) => string | null, now: number): Promise<Foreign | Refusal | null>;
}
