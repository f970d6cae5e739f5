//! The three functions that JavaScript sees.
//!
//! Memory crosses the border as address and length. JavaScript asks for room ([`casemate_allocate`]), fills it,
//! calls ([`casemate_answer`]), reads the answer and gives both back ([`casemate_free`]). A caller that breaks
//! these rules damages only this module's own memory: WebAssembly lets it reach no other.
#![allow(unsafe_code)]

/// Room for `len` bytes, zeroed; at most what the module's memory has.
#[unsafe(no_mangle)]
pub extern "C" fn casemate_allocate(len: usize) -> *mut u8 {
    give_away(vec![0; len].into_boxed_slice())
}

/// Gives room back that [`casemate_allocate`] or [`casemate_answer`] gave, of the same length.
///
/// # Safety
/// `pointer` and `len` are those of one earlier answer, and nobody uses them again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn casemate_free(pointer: *mut u8, len: usize) {
    let room = std::ptr::slice_from_raw_parts_mut(pointer, len);
    // SAFETY: `give_away` made this address from a box of this length, and the caller gives it back once.
    drop(unsafe { Box::from_raw(room) });
}

/// Answers the frame of `len` bytes at `pointer`: the address of 32 bits of length, little-endian, and that many
/// bytes of JSON. To be given back with this length and 4.
///
/// # Safety
/// `pointer` and `len` are those of one [`casemate_allocate`], not given back yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn casemate_answer(pointer: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the room was made by `casemate_allocate` with this length, zeroed, and nobody writes to it while
    // this single-threaded module runs.
    let frame = unsafe { std::slice::from_raw_parts(pointer, len) };
    let answer = crate::answer(frame);
    let length = u32::try_from(answer.len()).expect("an answer fits a 32-bit memory");
    give_away([&length.to_le_bytes(), answer.as_bytes()].concat().into_boxed_slice())
}

fn give_away(room: Box<[u8]>) -> *mut u8 {
    Box::into_raw(room).cast()
}
