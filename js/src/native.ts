/**
 * Opens and seals by `node:crypto`, where the runtime has it: synchronous, without an import that a bundler would have to know, and by the
 * processor's own AES. It makes and reads the same bytes as the module.
 *
 * It takes only what is beyond doubt: one cookie of that name, of the present format, under the sealing key, authentic and not expired. All else is
 * left to the module, which opens it or says why not: so the reasons, their order and the older keys are in one place.
 */
import { textOf } from './engine.js';
import type { Opened } from './provider.js';
import { BLOCK, COOKIE_HELD, DOMAIN, EXPIRES_AT, HEADER, IV, IV_LENGTH, KEY_ID, TAG, VERSION, macContext, secretBytes, writeHeader } from './token.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** As much of Node's interface as is needed here. */
interface NodeCrypto {
  createCipheriv(algorithm: string, key: unknown, iv: Uint8Array): { update(text: string, encoding: 'utf8'): Bytes; final(): Bytes };
  createDecipheriv(algorithm: string, key: unknown, iv: Uint8Array): { update(bytes: Uint8Array): Bytes; final(): Bytes };
  createHmac(algorithm: string, key: unknown): Hmac;
  createSecretKey(key: Uint8Array): unknown;
  hkdfSync(hash: string, key: Uint8Array, salt: string, info: string, length: number): ArrayBuffer;
  randomFillSync(bytes: Uint8Array): void;
  timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean;
}

interface Hmac {
  update(bytes: Uint8Array): Hmac;
  digest(): Bytes;
}

interface NodeBuffer {
  from(text: string, encoding: 'base64url'): Bytes & { toString(encoding: 'base64url'): string };
  from(buffer: ArrayBuffer): { toString(encoding: 'base64url'): string };
}

interface Runtime {
  process?: { getBuiltinModule?(name: string): unknown };
  Buffer?: NodeBuffer;
  Bun?: unknown;
  Deno?: unknown;
  /** Of workerd alone. */
  WebSocketPair?: unknown;
}

const runtime = globalThis as Runtime;

/**
 * From how many characters on it is cheaper to open (a header) and to seal (a payload) here than in the module: measured by `js/bench`. The module
 * takes its time for each byte, most of it when it encrypts, which can't be done in parallel; here it is the call that takes it, and next to none in Bun.
 */
const [OPENS_FROM, SEALS_FROM] = thresholds();

function thresholds(): [number, number] {
  if (runtime.Bun !== undefined) return [0, 0];
  if (runtime.Deno !== undefined) return [3000, 600];
  return runtime.WebSocketPair === undefined ? [1600, 300] : [Infinity, 550];
}

/** Longer values are no cookies of ours. */
const MAX_LENGTH = 8192;

let nodeCrypto: NodeCrypto | null | undefined;

/** Node's module; `null` where there is none. Node loads it now: not before something is to be done with it. */
function load(): NodeCrypto | null {
  return (nodeCrypto ??= (runtime.Buffer && (runtime.process?.getBuiltinModule?.('node:crypto') as NodeCrypto | undefined)) ?? null);
}

/** The sealing key of one configuration. @internal */
export class NativeKey {
  readonly #crypto: NodeCrypto;
  readonly #buffer: NodeBuffer;
  readonly #encryption: unknown;
  readonly #authentication: unknown;
  readonly #context: Bytes;
  readonly #name: string;
  readonly #keyId: number;

  private constructor(node: NodeCrypto, buffer: NodeBuffer, secret: string, cookie: string, keyId: number) {
    const key = (info: string) => node.createSecretKey(new Uint8Array(node.hkdfSync('sha256', secretBytes(secret), DOMAIN, info, 32)));
    this.#crypto = node;
    this.#buffer = buffer;
    this.#encryption = key('encryption');
    this.#authentication = key('authentication');
    this.#context = macContext(cookie);
    this.#name = `${cookie}=`;
    this.#keyId = keyId;
  }

  /** `null` where the runtime has no such module. */
  static of(secret: string, cookie: string, keyId: number): NativeKey | null {
    const node = load();
    return node === null || runtime.Buffer === undefined ? null : new NativeKey(node, runtime.Buffer, secret, cookie, keyId);
  }

  /** Whether a `Cookie` header of this length is worth asking {@link open}. */
  static opens(length: number): boolean {
    return length >= OPENS_FROM && length <= MAX_LENGTH;
  }

  /** Whether a payload of this length is. What is too large for a cookie is only to be refused. */
  static seals(length: number): boolean {
    return length >= SEALS_FROM && length <= MAX_LENGTH;
  }

  /** Opens the token in a `Cookie` header, if it is one that anybody would take; else the module has to say. */
  open(cookies: string, now: number): Opened | null {
    const value = this.#only(cookies);
    if (value === null) return null;
    const token = this.#buffer.from(value, 'base64url');
    const ciphertext = token.length - HEADER - TAG;
    if (ciphertext < BLOCK || ciphertext % BLOCK !== 0 || token[0] !== VERSION || token[1] !== COOKIE_HELD) return null;
    const view = new DataView(token.buffer, token.byteOffset, token.length);
    // Node's decoder passes over what isn't of the alphabet.
    if (view.getUint32(KEY_ID) !== this.#keyId || token.toString('base64url') !== value) return null;

    const message = token.subarray(0, -TAG);
    if (!this.#crypto.timingSafeEqual(this.#tag(message), token.subarray(-TAG))) return null;
    const expiresAt = Number(view.getBigUint64(EXPIRES_AT));
    if (now >= expiresAt) return null;
    const payload = this.#decrypt(token.subarray(IV, HEADER), message.subarray(HEADER));
    return payload === null ? null : { payload, expiresAt, index: 0, oldKey: false };
  }

  /** The token of a payload. */
  seal(payload: string, expiresAt: number): string {
    const iv = new Uint8Array(IV_LENGTH);
    this.#crypto.randomFillSync(iv);
    const cipher = this.#crypto.createCipheriv('aes-256-cbc', this.#encryption, iv);
    const [head, tail] = [cipher.update(payload, 'utf8'), cipher.final()];
    const token = new Uint8Array(HEADER + head.length + tail.length + TAG);
    writeHeader(token, false, this.#keyId, expiresAt);
    token.set(iv, IV);
    token.set(head, HEADER);
    token.set(tail, HEADER + head.length);
    token.set(this.#tag(token.subarray(0, -TAG)), token.length - TAG);
    return this.#buffer.from(token.buffer).toString('base64url');
  }

  #decrypt(iv: Uint8Array, ciphertext: Uint8Array): string | null {
    const decipher = this.#crypto.createDecipheriv('aes-256-cbc', this.#encryption, iv);
    const head = decipher.update(ciphertext);
    let tail;
    try {
      tail = decipher.final();
    } catch {
      return null; // What passed the tag was padded by us: that is for the module to say.
    }
    const payload = new Uint8Array(head.length + tail.length);
    payload.set(head);
    payload.set(tail, head.length);
    return textOf(payload);
  }

  #tag(message: Uint8Array): Bytes {
    return this.#crypto.createHmac('sha256', this.#authentication).update(this.#context).update(message).digest();
  }

  /** The value of our cookie, if its name stands once in the header, where a cookie begins. */
  #only(cookies: string): string | null {
    const at = cookies.indexOf(this.#name);
    if (at === -1 || (at !== 0 && !cookies.startsWith('; ', at - 2)) || cookies.includes(this.#name.slice(0, -1), at + 1)) return null;
    const end = cookies.indexOf(';', at);
    return cookies.slice(at + this.#name.length, end === -1 ? undefined : end);
  }
}
