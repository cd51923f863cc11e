//! The WebAssembly face of `session-core`: conversions, and nothing else. `js/src` is its one caller.
//!
//! JavaScript writes the fields of a call ([`wire`]) into the buffer that [`input`] gives, calls, and reads the answer from [`output`].
//! Every call leaves the module as it was, but for the providers that [`create`] makes. A call's result is a length of the output, or one
//! of the negative codes below.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, not(feature = "module")))]
extern crate std;

mod data;
mod failure;
mod options;
mod provider;
mod wire;

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};

use session_core::{Error, Passphrase};
use spin::Mutex;
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use failure::Failure;
use options::Options;
use provider::{Committed, Loaded, Provider};
use wire::{Input, millis, timestamp};

/// There is no such cookie.
pub const ABSENT: i32 = -1;
/// The cookie was refused; the output is the reason's code.
pub const REJECTED: i32 = -2;
/// It did not work. Output: `f64` actual size, `f64` limit (0 but for cookies that are too large), then a code, a space and the message.
pub const FAILED: i32 = -3;
/// Nothing is to be sent.
pub const UNCHANGED: i32 = -4;

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
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

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

/// Makes a provider. Fields: those of [`options::Options`]. Output: `f64` its handle, `f64` the idle timeout, `f64` whether it binds to
/// addresses (1) and to browsers (2), the id of the sealing key, the cookie's name after it.
#[wasm_bindgen]
#[must_use]
pub fn create() -> i32 {
    call(|state| {
        let provider = Provider::new(&Options::read(&mut state.input.fields())?)?;
        state.input.wipe();
        let config = provider.config();
        let binding = config.client_binding;
        let binds = u8::from(binding.is_some_and(|binding| binding.uses_ip()))
            | u8::from(binding.is_some_and(|binding| binding.uses_user_agent())) << 1;
        for number in
            [state.providers.len() as f64, config.expiry.idle().as_millis() as f64, f64::from(binds)]
        {
            state.output.extend_from_slice(&number.to_le_bytes());
        }
        state.output.extend_from_slice(config.keys.sealing_key_id().as_bytes());
        state.output.extend_from_slice(config.cookie.name.as_bytes());
        state.providers.push(provider);
        Ok(())
    })
}

/// Checks a passphrase and the number of iterations before JavaScript derives from it. Field: passphrase.
#[wasm_bindgen]
#[must_use]
pub fn check_passphrase(iterations: u32) -> i32 {
    call(|state| {
        let text = Zeroizing::new(String::from_utf8_lossy(state.input.field()).into_owned());
        state.input.wipe();
        Ok(Passphrase { iterations, ..Passphrase::default() }.check(&text).map_err(Error::from)?)
    })
}

/// Opens the session in a `Cookie` header. Fields: header, client address, User-Agent. Output: `f64` expiry, `u32` whether the token
/// is due (1) because of its key (2), payload.
#[wasm_bindgen]
#[must_use]
pub fn load(provider: usize, now: f64) -> i32 {
    call(|state| {
        let Loaded { payload, expires_at, due, old_key } = state
            .provider(provider)?
            .load(state.input.fields(), timestamp(now))?
            .ok_or(Failure::Code(ABSENT))?;
        state.output.extend_from_slice(&millis(expires_at));
        state.output.extend_from_slice(&(u32::from(due) | u32::from(old_key) << 1).to_le_bytes());
        state.output.extend_from_slice(&payload);
        Ok(())
    })
}

/// Checks the reference token in a `Cookie` header. Field: header. Output: `f64` rotation, expiry, absolute end, whether there is a
/// subject; 22 characters of the public name, the subject.
#[wasm_bindgen]
#[must_use]
pub fn verify(provider: usize, now: f64) -> i32 {
    call(|state| {
        let reference = state
            .provider(provider)?
            .verify(state.input.fields(), timestamp(now))?
            .ok_or(Failure::Code(ABSENT))?;
        let subject = reference.subject();
        for number in [
            reference.rotation() as f64,
            reference.expires_at().as_millis() as f64,
            reference.absolute_end().as_millis() as f64,
            f64::from(u8::from(subject.is_some())),
        ] {
            state.output.extend_from_slice(&number.to_le_bytes());
        }
        state.output.extend_from_slice(reference.key().to_string().as_bytes());
        state.output.extend_from_slice(subject.unwrap_or_default().as_bytes());
        Ok(())
    })
}

/// Saves what a request did to its session. Fields: payload, subject, flash messages, data, client address, User-Agent, each absent where
/// nothing changed. Output: `f64` expiry, `u32` length of the `Set-Cookie` line, the line, payload.
#[wasm_bindgen]
#[must_use]
pub fn commit(provider: usize, flags: u32, since: f64, now: f64) -> i32 {
    call(|state| {
        let Committed { set_cookie, payload, expires_at } = state
            .provider(provider)?
            .commit(state.input.fields(), flags, timestamp(since), timestamp(now))?
            .ok_or(Failure::Code(UNCHANGED))?;
        let line = set_cookie.unwrap_or_default();
        let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
        for part in [&millis(expires_at)[..], &length.to_le_bytes(), line.as_bytes(), &payload] {
            state.output.extend_from_slice(part);
        }
        Ok(())
    })
}

/// The `Set-Cookie` line for a token that JavaScript sealed. Field: token. Output: the line.
#[wasm_bindgen]
#[must_use]
pub fn set_cookie(provider: usize, expires_at: f64, now: f64) -> i32 {
    call(|state| {
        let token = core::str::from_utf8(state.input.field()).unwrap_or_default();
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
        let line = state.provider(provider)?.remove_cookie();
        state.output.extend_from_slice(line.as_bytes());
        Ok(())
    })
}

/// The public name of a session. Field: payload. Output: 22 characters.
#[wasm_bindgen]
#[must_use]
pub fn key() -> i32 {
    call(|state| {
        let key = provider::key(state.input.field())?;
        state.output.extend_from_slice(key.as_bytes());
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
