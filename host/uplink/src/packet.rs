//! What is in a frame of the guest?
//!
//! Only what is listed in [`Packet`] is looked at again; the rest is dropped here, without an answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use casemate_api::reach::{GUEST, RESOLVER, ROUTER};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};

use crate::wire::MAXIMUM_FRAME_BYTES;

/// Our end of the guest's wire.
pub(crate) const OWN_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// A frame worth looking at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A question or answer about an address of ours.
    Arp,
    /// A segment of a connection between a port of the guest and another address.
    Tcp {
        /// Port in the guest.
        guest_port: u16,
        /// The other end.
        peer: SocketAddrV4,
        /// Whether it asks for a new connection.
        opens: bool,
    },
    /// A datagram of the guest.
    Udp {
        /// Port in the guest.
        guest_port: u16,
        /// Where it goes.
        peer: SocketAddrV4,
        /// Where in the frame its payload is.
        payload: Range<usize>,
    },
}

/// What a frame is, and which hardware address sent it; `None` if it is dropped.
pub(crate) fn read(frame: &[u8]) -> Option<(EthernetAddress, Packet)> {
    if frame.len() > MAXIMUM_FRAME_BYTES {
        return None;
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let sender = ethernet.src_addr();
    if !sender.is_unicast() {
        return None;
    }
    match ethernet.ethertype() {
        EthernetProtocol::Arp => Some((sender, read_arp(ethernet.payload())?)),
        EthernetProtocol::Ipv4 if ethernet.dst_addr() == OWN_MAC => {
            Some((sender, read_ipv4(ethernet.payload())?))
        }
        _ => None,
    }
}

/// Only the guest's own address asks, and only for the two that are ours.
fn read_arp(bytes: &[u8]) -> Option<Packet> {
    let ArpRepr::EthernetIpv4 { source_protocol_addr, target_protocol_addr, .. } =
        ArpRepr::parse(&ArpPacket::new_checked(bytes).ok()?).ok()?
    else {
        return None;
    };
    let ours = [ROUTER, RESOLVER].contains(&target_protocol_addr);
    (source_protocol_addr == GUEST && ours).then_some(Packet::Arp)
}

fn read_ipv4(bytes: &[u8]) -> Option<Packet> {
    let ip = Ipv4Packet::new_checked(bytes).ok()?;
    let whole = !ip.more_frags() && ip.frag_offset() == 0;
    let to = ip.dst_addr();
    let unicast = !to.is_broadcast() && !to.is_multicast() && !to.is_unspecified();
    if !whole || !unicast || ip.src_addr() != GUEST || !ip.verify_checksum() {
        return None;
    }
    let begin = ETHERNET_BYTES + usize::from(ip.header_len());
    match ip.next_header() {
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
            if !tcp.verify_checksum(&GUEST.into(), &to.into()) || tcp.src_port() == 0 || tcp.dst_port() == 0 {
                return None;
            }
            Some(Packet::Tcp {
                guest_port: tcp.src_port(),
                peer: SocketAddrV4::new(to, tcp.dst_port()),
                opens: tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin(),
            })
        }
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(ip.payload()).ok()?;
            if !udp.verify_checksum(&GUEST.into(), &to.into()) || udp.src_port() == 0 || udp.dst_port() == 0 {
                return None;
            }
            let begin = begin + UDP_BYTES;
            Some(Packet::Udp {
                guest_port: udp.src_port(),
                peer: SocketAddrV4::new(to, udp.dst_port()),
                payload: begin..begin + udp.payload().len(),
            })
        }
        _ => None,
    }
}

/// A frame that brings `payload` from `peer` to a port of the guest; `None` if it does not fit one.
pub(crate) fn datagram(
    guest: EthernetAddress,
    peer: SocketAddrV4,
    guest_port: u16,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp = UdpRepr { src_port: peer.port(), dst_port: guest_port };
    let from: Ipv4Addr = *peer.ip();
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: GUEST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let length = ETHERNET_BYTES + ip.buffer_len() + ip.payload_len;
    if length > MAXIMUM_FRAME_BYTES {
        return None;
    }
    let mut frame = vec![0; length];
    let ethernet = EthernetRepr { src_addr: OWN_MAC, dst_addr: guest, ethertype: EthernetProtocol::Ipv4 };
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET_BYTES..]);
    ip.emit(&mut packet, &checksums);
    udp.emit(
        &mut UdpPacket::new_unchecked(packet.payload_mut()),
        &from.into(),
        &GUEST.into(),
        payload.len(),
        |bytes| bytes.copy_from_slice(payload),
        &checksums,
    );
    Some(frame)
}

const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;
