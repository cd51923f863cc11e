/**
 * Builds the package into dist/: `npm run build`. Needs cargo with the target wasm32-unknown-unknown and the component rust-src, and
 * wasm-bindgen of the version in Cargo.lock.
 *
 *   session-wasm -> wasm-bindgen -> wasm-opt -> one bundle for each entry, type declarations for ESM and CommonJS
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const js = import.meta.dirname;
const root = join(js, '..');
const dist = join(js, 'dist');
const generated = join(js, 'src/wasm');
const run = (command, args, options = {}) => execFileSync(command, args, { cwd: root, stdio: 'inherit', ...options });
const bin = (name) => join(js, 'node_modules/.bin', name);

// Every runtime has had 128-bit SIMD since 2023 at the latest (Safari 16.4); SHA-256 uses it.
const features = ['bulk-memory', 'mutable-globals', 'nontrapping-fptoint', 'sign-ext', 'simd128'];
// No path of the machine that built it in the messages of panics.
const flags = [
  // Without references to JavaScript's values, which wasm-bindgen would keep a table of that nothing here uses.
  `-Ctarget-feature=${features.map((feature) => `+${feature}`).join()},-reference-types`,
  `--remap-path-prefix=${process.env.CARGO_HOME ?? join(homedir(), '.cargo')}=`,
  '-Zunstable-options',
  '-Cpanic=immediate-abort',
];
// The messages of panics would be a tenth of the module, and nobody could read them: a panic is a trap. That takes a standard library built
// for it (the component rust-src), which cargo does on the stable compiler only when it is told that we know.
// AES' S-box is called from four places of a round, with its state in memory; inlined, which is beyond the compiler's ordinary threshold, it works on
// local variables: an eighth less of opening, for 1 KB (gzip).
const inlining = 'profile.wasm.package.session-wasm-tokens.rustflags=["-Cllvm-args=-inline-threshold=400"]';
const unstable = { RUSTC_BOOTSTRAP: '1', CARGO_ENCODED_RUSTFLAGS: flags.join('\x1f') };
run('cargo', ['build', '--quiet', '--locked', '-Zbuild-std=core,alloc', '-Zprofile-rustflags', '--config', inlining, '--package', 'session-wasm', '--target', 'wasm32-unknown-unknown', '--profile', 'wasm', '--features', 'module'], {
  env: { ...process.env, ...unstable },
});
rmSync(generated, { recursive: true, force: true });
mkdirSync(generated);
run('wasm-bindgen', ['--target', 'bundler', '--no-typescript', '--out-dir', generated, join(target(), 'wasm32-unknown-unknown/wasm/session_wasm.wasm')]);
run(bin('wasm-opt'), [
  ...['-O3', '--strip-debug', '--strip-producers', '--strip-target-features', '--converge'],
  // Functions are compiled when they are first called, and large ones take more than their share: `open` with all that it may need inside would
  // be half of a cold start.
  ...['--one-caller-inline-max-function-size', '250'],
  ...features.flatMap((feature) => ['bulk-memory', 'mutable-globals', 'sign-ext'].includes(feature) ? [`--enable-${feature}`] : []),
  ...['--enable-simd', '--enable-nontrapping-float-to-int', '--enable-bulk-memory-opt', '--enable-multivalue'],
  ...[join(generated, 'session_wasm_bg.wasm'), '-o', join(generated, 'session.wasm')],
]);
const wasm = readFileSync(join(generated, 'session.wasm'));
writeFileSync(join(generated, 'inline.js'), `export const base64 = '${wasm.toString('base64')}';\n`);
writeFileSync(join(generated, 'inline.d.ts'), 'export declare const base64: string;\n');
// The module imports nothing, and its exports are called as they are: of wasm-bindgen's glue nothing is needed.
if (WebAssembly.Module.imports(new WebAssembly.Module(wasm)).length > 0) throw new Error('the module has imports');
for (const name of ['session_wasm.js', 'session_wasm_bg.js', 'session_wasm_bg.wasm']) rmSync(join(generated, name));

rmSync(dist, { recursive: true, force: true });
run(bin('tsc'), ['--project', join(js, 'tsconfig.json'), '--emitDeclarationOnly']);
for (const internal of ['engine', 'native', 'seal', 'token', 'entry/edge-light', 'entry/inline', 'entry/workerd']) rmSync(join(dist, `${internal}.d.ts`), { force: true });
for (const file of readdirSync(dist, { recursive: true }).filter((file) => file.endsWith('.d.ts'))) {
  const text = readFileSync(join(dist, file), 'utf8');
  writeFileSync(join(dist, file.replace(/\.ts$/, '.cts')), text.replace(/(from '\.{1,2}\/[^']+)\.js'/g, "$1.cjs'"));
}
cpSync(join(generated, 'session.wasm'), join(dist, 'session.wasm'));

// The module stays a file of its own where the runtime's bundler compiles it.
const asFile = { name: 'wasm as a file', setup: (esbuild) => esbuild.onResolve({ filter: /\.wasm(\?module)?$/ }, ({ path }) => ({ path: `./session.wasm${path.endsWith('?module') ? '?module' : ''}`, external: true })) };
const bundle = (entry, out, options = {}) =>
  build({ entryPoints: [join(js, 'src', entry)], outfile: join(dist, out), bundle: true, format: 'esm', target: 'es2022', platform: 'neutral', legalComments: 'none', minify: true, keepNames: false, plugins: [asFile], logLevel: 'warning', ...options });
await Promise.all([
  bundle('entry/workerd.ts', 'workerd.js'),
  bundle('entry/edge-light.ts', 'edge-light.js'),
  bundle('entry/inline.ts', 'index.js'),
  bundle('entry/inline.ts', 'index.cjs', { format: 'cjs' }),
  bundle('entry/slim.ts', 'slim.js'),
  bundle('import/index.ts', 'import/index.js'),
  bundle('import/index.ts', 'import/index.cjs', { format: 'cjs' }),
  ...adapters().flatMap((name) => [bundle(`adapters/${name}.ts`, `adapters/${name}.js`), bundle(`adapters/${name}.ts`, `adapters/${name}.cjs`, { format: 'cjs' })]),
]);

const size = (name) => gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;
console.log(`session.wasm ${statSync(join(dist, 'session.wasm')).size} bytes; gzip: session.wasm ${size('session.wasm')}, workerd.js ${size('workerd.js')}, index.js ${size('index.js')}`);

function adapters() {
  return readdirSync(join(js, 'src/adapters')).map((file) => file.replace(/\.ts$/, ''));
}

function target() {
  const metadata = execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps', '--offline'], { cwd: root, maxBuffer: 1 << 26 });
  return JSON.parse(metadata.toString()).target_directory;
}
