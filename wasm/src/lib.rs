//! The WebAssembly face of `session-core`: conversions, and nothing else. `js/src` is its one caller.
//!
//! JavaScript writes the fields of a call (`wire.rs`) into the buffer that [`input`] gives, calls, and reads the answer from [`output`].
//! Every call leaves the module as it was, but for the providers that [`create`] makes. A call's result is a length of the output, or one
//! of the negative codes below.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, not(feature = "module")))]
extern crate std;

mod failure;
mod options;
mod provider;
mod wire;

use alloc::{string::ToString as _, vec::Vec};

use session_core::{Config, Error, Passphrase, SessionId};
use spin::Mutex;
use wasm_bindgen::prelude::wasm_bindgen;

use failure::Failure;
use options::Options;
use provider::Provider;
use wire::{Input, millis, timestamp};

/// There is no such cookie.
pub const ABSENT: i32 = -1;
/// The cookie was refused; the output is the reason's code.
pub const REJECTED: i32 = -2;
/// It did not work. Output: `f64` actual size, `f64` limit (0 but for cookies that are too large), then a code, a space and the message.
pub const FAILED: i32 = -3;

struct State {
    providers: Vec<Provider>,
    input: Input,
    output: Vec<u8>,
}

/// JavaScript has one thread for an instance, so the lock is always free: but after a trap, and then the instance is dropped.
static STATE: Mutex<State> =
    Mutex::new(State { providers: Vec::new(), input: Input::EMPTY, output: Vec::new() });

#[cfg(all(feature = "module", target_arch = "wasm32"))]
#[global_allocator]
static ALLOCATOR: rlsf::SmallGlobalTlsf = rlsf::SmallGlobalTlsf::new();

#[cfg(all(feature = "module", target_arch = "wasm32"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Room for `length` bytes of input.
#[wasm_bindgen]
#[must_use]
pub fn input(length: usize) -> *const u8 {
    STATE.try_lock().map_or(core::ptr::null(), |mut state| state.input.reserve(length))
}

/// Where the answer of the last call lies.
#[wasm_bindgen]
#[must_use]
pub fn output() -> *const u8 {
    STATE.try_lock().map_or(core::ptr::null(), |state| state.output.as_ptr())
}

/// How long it is, where the call's result was a code.
#[wasm_bindgen]
#[must_use]
pub fn output_length() -> usize {
    STATE.try_lock().map_or(0, |state| state.output.len())
}

/// Makes a provider. Fields: those of `options.rs`, in its order. Output: `f64` its handle, idle and absolute timeout in milliseconds, and bits:
/// slides (1), binds to addresses (2), to browsers (4); the id of the sealing key, the cookie's name.
#[wasm_bindgen]
#[must_use]
pub fn create() -> i32 {
    call(|state| {
        let provider = Provider::new(&Options::read(&mut state.input.fields())?)?;
        state.input.wipe();
        let Config { expiry, client_binding, keys, cookie, .. } = &provider.config;
        let bits = u8::from(expiry.is_sliding())
            | u8::from(client_binding.is_some_and(|binding| binding.uses_ip())) << 1
            | u8::from(client_binding.is_some_and(|binding| binding.uses_user_agent())) << 2;
        let (idle, absolute) = (expiry.idle().as_millis() as f64, expiry.absolute().as_millis() as f64);
        for number in [state.providers.len() as f64, idle, absolute, f64::from(bits)] {
            state.output.extend_from_slice(&number.to_le_bytes());
        }
        state.output.extend_from_slice(keys.sealing_key_id().as_bytes());
        state.output.extend_from_slice(cookie.name.as_bytes());
        state.providers.push(provider);
        Ok(())
    })
}

/// Checks a passphrase and the number of iterations before JavaScript derives from it. Field: passphrase.
#[wasm_bindgen]
#[must_use]
pub fn check_passphrase(iterations: u32) -> i32 {
    call(|state| {
        let checked = Passphrase { iterations, ..Passphrase::default() }
            .check(state.input.fields().text().unwrap_or_default())
            .map_err(Error::from);
        state.input.wipe();
        Ok(checked?)
    })
}

/// Opens a token of a `Cookie` header: that of a session, or a reference. Field: header. Output: `f64` expiry, `f64` which of the cookies of
/// that name it was, doubled, and one more if its key is not the sealing key; payload.
#[wasm_bindgen]
#[must_use]
pub fn open(provider: usize, references: bool, skip: usize, now: f64) -> i32 {
    call(|state| {
        let provider = state.providers.get(provider).ok_or(Failure::NoProvider)?;
        let (index, opened) = provider
            .open(state.input.field(), references, skip, timestamp(now))?
            .ok_or(Failure::Code(ABSENT))?;
        let old_key = opened.key_id() != provider.config.keys.sealing_key_id();
        state.output.extend_from_slice(&millis(opened.expires_at()));
        state.output.extend_from_slice(&((2 * index + usize::from(old_key)) as f64).to_le_bytes());
        state.output.extend_from_slice(opened.payload());
        Ok(())
    })
}

/// Seals a payload. Fields: 16 random bytes, payload. Output: the `Set-Cookie` line.
#[wasm_bindgen]
#[must_use]
pub fn seal(provider: usize, expires_at: f64, now: f64) -> i32 {
    call(|state| {
        let mut fields = state.input.fields();
        let (random, payload) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let line = state.provider(provider)?.seal(payload, random, timestamp(expires_at), timestamp(now))?;
        state.output.extend_from_slice(line.as_bytes());
        Ok(())
    })
}

/// The `Set-Cookie` line for a token that JavaScript sealed. Field: token. Output: the line.
#[wasm_bindgen]
#[must_use]
pub fn set_cookie(provider: usize, expires_at: f64, now: f64) -> i32 {
    call(|state| {
        let token = state.input.fields().text().unwrap_or_default();
        let line = state.provider(provider)?.set_cookie(token, timestamp(expires_at), timestamp(now))?;
        state.output.extend_from_slice(line.as_bytes());
        Ok(())
    })
}

/// The `Set-Cookie` line that ends the session at the client.
#[wasm_bindgen]
#[must_use]
pub fn remove_cookie(provider: usize) -> i32 {
    call(|state| {
        let line = state.provider(provider)?.config.cookie.remove();
        state.output.extend_from_slice(line.as_str().as_bytes());
        Ok(())
    })
}

/// What a session keeps of its client. Fields: session id, key id (absent: the sealing key), address, User-Agent. Output: three lines, key
/// id, address and User-Agent, each empty where there is none; nothing at all if there is no such key.
#[wasm_bindgen]
#[must_use]
pub fn bind(provider: usize) -> i32 {
    call(|state| {
        let fields = state.provider(provider)?.bind(&mut state.input.fields());
        for field in fields.into_iter().flatten() {
            state.output.extend_from_slice(field.unwrap_or_default().as_bytes());
            state.output.push(b'\n');
        }
        Ok(())
    })
}

/// The public name of a session. Field: its id. Output: 22 characters, or nothing if that is no id.
#[wasm_bindgen]
#[must_use]
pub fn key() -> i32 {
    call(|state| {
        let id = state.input.fields().text().and_then(SessionId::parse);
        state.output.extend_from_slice(id.map(|id| id.key().to_string()).unwrap_or_default().as_bytes());
        Ok(())
    })
}

/// Runs one call: its output is what `run` wrote, or the failure.
fn call(run: impl FnOnce(&mut State) -> Result<(), Failure>) -> i32 {
    let Some(mut state) = STATE.try_lock() else { return FAILED };
    state.output.clear();
    match run(&mut state) {
        Ok(()) => i32::try_from(state.output.len()).unwrap_or(FAILED),
        Err(failure) => failure.write(&mut state.output),
    }
}

impl State {
    fn provider(&self, handle: usize) -> Result<&Provider, Failure> {
        self.providers.get(handle).ok_or(Failure::NoProvider)
    }
}
