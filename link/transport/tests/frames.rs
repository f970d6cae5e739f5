//! Does the decoder find what was sent, and name what was not?

use casemate_transport::{
    Decoder, Destination, Event, FailureCode, Frame, FrameError, MARK_BYTES, MAX_FRAME_BYTES, Mark, encode,
    encode_mark,
};
use proptest::prelude::*;

fn frames() -> impl Strategy<Value = Frame> {
    let body = || proptest::collection::vec(any::<u8>(), 0..300);
    let to = prop_oneof![
        Just(Destination::Agent),
        any::<[u8; 32]>()
            .prop_map(|half| Destination::Seat([half, half].concat().as_slice().try_into().unwrap()))
    ];
    prop_oneof![
        (any::<u64>(), to, body()).prop_map(|(id, to, body)| Frame::Call { id, to, body }),
        (any::<u64>(), body()).prop_map(|(id, body)| Frame::Reply { id, body }),
        any::<u64>().prop_map(|id| Frame::Failure { id, code: FailureCode::Unreachable }),
        body().prop_map(|body| Frame::Notice { body }),
    ]
}

fn drain(decoder: &mut Decoder) -> Vec<Result<Event, FrameError>> {
    std::iter::from_fn(|| decoder.next_event().transpose()).collect()
}

proptest! {
    #[test]
    fn whatever_the_portions_the_same_frames_come_out(
        frames in proptest::collection::vec(frames(), 0..6),
        portion in 1_usize..90,
    ) {
        let mut bytes = encode_mark(Mark::Ask).to_vec();
        for frame in &frames {
            bytes.extend(encode(frame).unwrap());
        }
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for chunk in bytes.chunks(portion) {
            decoder.push(chunk);
            found.extend(drain(&mut decoder).into_iter().map(Result::unwrap));
        }
        prop_assert_eq!(&found[0], &Event::Mark { mark: Mark::Ask, dropped_bytes: 0 });
        let found: Vec<_> = found.into_iter().skip(1).collect();
        prop_assert_eq!(found, frames.into_iter().map(Event::Frame).collect::<Vec<_>>());
        prop_assert!(!decoder.is_within_frame());
    }

    #[test]
    fn after_any_rubbish_a_mark_restores_the_stream(rubbish in proptest::collection::vec(any::<u8>(), 0..200), frame in frames()) {
        for mut decoder in [Decoder::new(), Decoder::started()] {
            decoder.push(&rubbish);
            drain(&mut decoder);
            decoder.push(&encode_mark(Mark::Answer));
            decoder.push(&encode(&frame).unwrap());
            let events = drain(&mut decoder);
            prop_assert_eq!(events.last().unwrap().as_ref().unwrap(), &Event::Frame(frame.clone()));
        }
    }
}

fn next_error(bytes: &[u8]) -> FrameError {
    let mut decoder = Decoder::started();
    decoder.push(bytes);
    decoder.next_event().unwrap_err()
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
    let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    assert!(matches!(
        next_error(&length.to_be_bytes()),
        FrameError::TooLarge { found, maximum: MAX_FRAME_BYTES } if found == MAX_FRAME_BYTES + 1
    ));
}

#[test]
fn a_frame_of_exactly_the_limit_passes() {
    let overhead = encode(&Frame::Notice { body: vec![0; 1 << 19] }).unwrap().len() - 4 - (1 << 19);
    let frame = Frame::Notice { body: vec![0; MAX_FRAME_BYTES - overhead] };
    let mut decoder = Decoder::started();
    decoder.push(&encode(&frame).unwrap());
    assert_eq!(decoder.next_event().unwrap(), Some(Event::Frame(frame)));
    let larger = Frame::Notice { body: vec![0; MAX_FRAME_BYTES - overhead + 1] };
    assert!(matches!(encode(&larger), Err(FrameError::TooLarge { .. })));
}

#[test]
fn length_zero_is_no_frame() {
    assert!(matches!(next_error(&[0; 4]), FrameError::Empty));
}

#[test]
fn every_changed_byte_is_another_frame_or_an_error() {
    let bytes = encode(&Frame::Call { id: 7, to: Destination::Agent, body: b"x".to_vec() }).unwrap();
    let expected = Event::Frame(Frame::Call { id: 7, to: Destination::Agent, body: b"x".to_vec() });
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let mut decoder = Decoder::started();
            decoder.push(&changed);
            assert_ne!(decoder.next_event().ok().flatten(), Some(expected.clone()), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn other_encodings_of_a_frame_are_malformed() {
    let frame = encode(&Frame::Notice { body: vec![9] }).unwrap();
    let mut trailing = frame.clone();
    trailing[3] += 1;
    trailing.push(0);
    assert!(matches!(
        next_error(&trailing),
        FrameError::Malformed(casemate_canon::Error::NotCanonical { .. })
    ));
    // Variant 9 of 0..=3.
    let mut unknown = frame.clone();
    unknown[5] = 9;
    assert!(matches!(next_error(&unknown), FrameError::Malformed(casemate_canon::Error::Malformed(_))));
}

#[test]
fn worked_bytes_of_the_reference() {
    let call = Frame::Call { id: 1, to: Destination::Agent, body: b"hi".to_vec() };
    assert_eq!(encode(&call).unwrap(), b"\0\0\0\x0a\x82\x00\x83\x01\x82\x01\x80\x42hi");
    let failure = Frame::Failure { id: 1, code: FailureCode::Unreachable };
    assert_eq!(encode(&failure).unwrap(), b"\0\0\0\x05\x82\x02\x82\x01\x02");
    assert_eq!(&encode_mark(Mark::Ask), b"\xff\xff\xff\xffcasemate-sy\x01");
}

#[test]
fn a_mark_cuts_the_frame_before_it_short() {
    let frame = Frame::Reply { id: 1, body: vec![1; 100] };
    let mut bytes = encode(&frame).unwrap()[..50].to_vec();
    bytes.extend(encode_mark(Mark::Ask));
    bytes.extend(encode(&frame).unwrap());
    let mut decoder = Decoder::started();
    decoder.push(&bytes);
    assert_eq!(decoder.next_event().unwrap(), Some(Event::Mark { mark: Mark::Ask, dropped_bytes: 50 }));
    assert_eq!(decoder.next_event().unwrap(), Some(Event::Frame(frame)));
}

#[test]
fn a_body_that_holds_a_mark_is_not_sent() {
    let mut body = vec![0; 10];
    body.extend(encode_mark(Mark::Answer));
    assert!(matches!(encode(&Frame::Notice { body }), Err(FrameError::ContainsMark)));
}

#[test]
fn memory_stays_bounded_while_no_mark_comes() {
    let mut decoder = Decoder::new();
    for _ in 0..1000 {
        decoder.push(&[0xff; 4096]);
        assert!(decoder.next_event().unwrap().is_none());
    }
    decoder.push(&encode_mark(Mark::Ask));
    let event = decoder.next_event().unwrap().unwrap();
    assert_eq!(event, Event::Mark { mark: Mark::Ask, dropped_bytes: 4096 * 1000 });
    const { assert!(MARK_BYTES == 16) };
}

/// Each used to be cut off the front of the buffer, and what follows to be searched anew: ten megabytes of them took
/// an hour.
#[test]
fn many_small_frames_at_once_cost_no_more_than_their_bytes() {
    let frame = encode(&Frame::Reply { id: 1, body: Vec::new() }).expect("small");
    let count = 10_000_000 / frame.len();
    let mut decoder = Decoder::started();
    decoder.push(&frame.repeat(count));
    decoder.push(&encode_mark(Mark::Ask));
    for _ in 0..count {
        assert!(matches!(decoder.next_event(), Ok(Some(Event::Frame(_)))));
    }
    assert_eq!(
        decoder.next_event().expect("a mark"),
        Some(Event::Mark { mark: Mark::Ask, dropped_bytes: 0 })
    );
    assert_eq!(decoder.next_event().expect("nothing more"), None);
}
