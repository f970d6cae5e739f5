//! How does the TCP stack see the guest's wire?

use std::collections::VecDeque;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Frames on their way between QEMU and the stack. Bounded: the stack gets nothing while what it would
/// answer has no room.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) from_guest: VecDeque<Vec<u8>>,
    pub(crate) to_guest: VecDeque<Vec<u8>>,
}

impl Wire {
    /// Whether more of the guest's frames may come.
    pub(crate) fn has_room(&self) -> bool {
        self.from_guest.len() < MAXIMUM_FRAMES
    }

    /// Whether more frames for the guest may come.
    pub(crate) fn has_room_to_guest(&self) -> bool {
        self.to_guest.len() < MAXIMUM_FRAMES
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        if !self.has_room_to_guest() {
            return None;
        }
        let frame = self.from_guest.pop_front()?;
        Some((Received(frame), Sent(&mut self.to_guest)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        self.has_room_to_guest().then_some(Sent(&mut self.to_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAXIMUM_FRAME_BYTES;
        capabilities
    }
}

/// Longest frame: 1500 bytes of IP behind an Ethernet header.
pub(crate) const MAXIMUM_FRAME_BYTES: usize = 1514;

const MAXIMUM_FRAMES: usize = 512;

pub(crate) struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(crate) struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let written = write(&mut frame);
        self.0.push_back(frame);
        written
    }
}
