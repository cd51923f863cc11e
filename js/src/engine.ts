/**
 * The WebAssembly module: its one instance, and how strings get in and out.
 *
 * Fields of a call are written into one buffer of its memory, and answers read from another: `wasm/src/lib.rs` is the other side. No
 * call allocates a JavaScript object on the way, and the module keeps nothing of a session.
 */
import { CryptoUnavailableError, WasmUnavailableError, toError } from './errors.js';

interface Exports {
  memory: WebAssembly.Memory;
  input(length: number): number;
  output(): number;
  output_length(): number;
  create(): number;
  check_passphrase(iterations: number): number;
  open(provider: number, references: number, skip: number, now: number): number;
  seal(provider: number, expiresAt: number, now: number): number;
  set_cookie(provider: number, expiresAt: number, now: number): number;
  remove_cookie(provider: number): number;
  bind(provider: number): number;
  key(): number;
}

/** Results of a call below zero; the same numbers as in `wasm/src/lib.rs`. @internal */
export const ABSENT = -1;
/** @internal */
export const REJECTED = -2;
const FAILED = -3;

const ABSENT_FIELD = 0xffffffff;

let source: (() => WebAssembly.Module) | undefined;
let module: WebAssembly.Module | undefined;
let exports: Exports | undefined;
/** Goes up with every new instance: providers of an older one are gone. */
let generation = 0;
let memory = new Uint8Array();
let tail = memory;
let view = new DataView(memory.buffer);
/** Where the next field is written to or read from, and where the answer ends. */
let cursor = 0;
let end = 0;

/** @internal */
export const encoder = new TextEncoder();
/** Leaves a byte order mark in: to Rust such a payload is none. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

/** `null` for bytes that are no text: to Rust such a payload is none either. @internal */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** From the runtime's random source. @internal */
export function fillRandom(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  try {
    return crypto.getRandomValues(bytes);
  } catch (cause) {
    throw new CryptoUnavailableError("this runtime's random source failed: no session can be made or saved", { cause });
  }
}

/** Says where the module comes from: each entry of the package has its own way. It is compiled when it is first needed. @internal */
export function provide(load: () => WebAssembly.Module): void {
  source ??= load;
}

/** The instance, made when it is first needed. @internal */
export function engine(): Exports {
  return exports ?? start();
}

/** Counts instances. @internal */
export const currentGeneration = (): number => generation;

/** Drops the instance: the next call gets a fresh one. @internal */
export function restart(): void {
  exports = undefined;
  generation += 1;
}

function start(): Exports {
  if (source === undefined) {
    throw new WasmUnavailableError('no WebAssembly module: with `session-edge/slim`, call `init(module)` first');
  }
  try {
    module ??= source();
    // A copy: engines keep the module's own object as a hash table, and look everything up.
    const fresh = { ...new WebAssembly.Instance(module).exports } as unknown as Exports;
    refresh(fresh.memory);
    exports = fresh;
    return fresh;
  } catch (cause) {
    throw new WasmUnavailableError('this runtime does not run the WebAssembly module: does a CSP lack \'wasm-unsafe-eval\'?', { cause });
  }
}

/** Begins a call whose fields have at most `bytes` bytes, in `fields` fields. @internal */
export function begin(bytes: number, fields: number): void {
  const { input, memory: current } = engine();
  cursor = input(bytes + 4 * fields);
  if (memory.length === 0) refresh(current);
}

/** A field of text. It needs up to three bytes for each of its UTF-16 units. @internal */
export function text(value: string | null | undefined): void {
  if (value === null || value === undefined) return absent();
  const { written } = encoder.encodeInto(value, from(cursor + 4));
  view.setUint32(cursor, written, true);
  cursor += 4 + written;
}

/** The memory from a place on. Kept: the first field always begins at the same. */
function from(start: number): Uint8Array {
  if (tail.buffer !== memory.buffer || tail.byteOffset !== start) tail = memory.subarray(start);
  return tail;
}

/** A field of one byte for each character, as header values are. @internal */
export function latin1(value: string | null): void {
  if (value === null) return absent();
  view.setUint32(cursor, value.length, true);
  cursor += 4;
  for (let i = 0; i < value.length; i++) memory[cursor++] = value.charCodeAt(i);
}

/** A field of eight bytes. @internal */
export function number(value: number | undefined): void {
  if (value === undefined) return absent();
  view.setUint32(cursor, 8, true);
  view.setFloat64(cursor + 4, value, true);
  cursor += 12;
}

/** A field of so many random bytes. @internal */
export function random(length: number): void {
  view.setUint32(cursor, length, true);
  fillRandom(memory.subarray(cursor + 4, cursor + 4 + length));
  cursor += 4 + length;
}

/** A field of one byte. @internal */
export function flag(value: boolean | undefined): void {
  if (value === undefined) return absent();
  view.setUint32(cursor, 1, true);
  view.setUint8(cursor + 4, value ? 1 : 0);
  cursor += 5;
}

function absent(): void {
  view.setUint32(cursor, ABSENT_FIELD, true);
  cursor += 4;
}

/** Goes to the beginning of the answer to the call that just gave `result`. Throws what the call failed with. @internal */
export function answer(result: number): void {
  const { output, output_length, memory: current } = engine();
  if (memory.length === 0) refresh(current);
  cursor = output();
  end = cursor + (result < 0 ? output_length() : result);
  if (result === FAILED) {
    const [actual, limit] = [readNumber(), readNumber()];
    const said = readText();
    const space = said.indexOf(' ');
    throw toError(said.slice(0, space), said.slice(space + 1), actual, limit);
  }
}

/** @internal */
export function readNumber(): number {
  cursor += 8;
  return view.getFloat64(cursor - 8, true);
}

/** @internal */
export function readInteger(): number {
  cursor += 4;
  return view.getUint32(cursor - 4);
}

/** Text of a length, or all that is left. @internal */
export function readText(length = end - cursor): string {
  cursor += length;
  return decoder.decode(memory.subarray(cursor - length, cursor));
}

/** What was sealed, if it is text. @internal */
export function readPayload(): string | null {
  return textOf(memory.subarray(cursor, end));
}

/** A memory that grew lies elsewhere, and leaves a buffer of length zero behind. */
function refresh(current: WebAssembly.Memory): void {
  memory = new Uint8Array(current.buffer);
  view = new DataView(current.buffer);
}
