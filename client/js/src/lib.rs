//! How does JavaScript reach the verifier?
//!
//! A WebAssembly module without imports: what it computes depends on its input alone, and the page around it
//! cannot lend it a clock, a network or randomness. `casemate.js` beside this crate hides it. One call takes a
//! frame, a request in JSON and files, and gives JSON back; what both may say is in `casemate_intake`.
//!
//! There are three functions and one frame, so no generator of bindings is needed, and none has to match
//! the version of the compiler or of a tool on the machine.

mod frame;

#[cfg(target_family = "wasm")]
mod sys;

pub use frame::{Frame, FrameError};

/// Answers a frame, in JSON; whatever the input, there is an answer.
pub fn answer(frame: &[u8]) -> String {
    match Frame::parse(frame) {
        Ok(Frame { request, files }) => casemate_intake::call(request, &files, casemate_crypto::provider()),
        // Only a damaged `casemate.js` can cause it.
        Err(error) => format!(
            r#"{{"error":{{"code":"frame","message":"{error}","hint":"use module and casemate.js of one version"}}}}"#
        ),
    }
}
