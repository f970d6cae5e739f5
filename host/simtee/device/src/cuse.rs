//! How does the kernel speak to a character device in user space?
//!
//! Messages of the FUSE protocol over `/dev/cuse` (linux/fuse.h): a 40-byte header, then the body; each
//! answer is one write. Numbers are in the machine's byte order, here little-endian.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use crate::port::{Answer, MAXIMUM_TABLE, Port, REPORT, REQUEST, Simulator};

/// Serves `/dev/sev-guest` until the kernel or the port fails.
pub(crate) fn serve() -> io::Result<Infallible> {
    let mut port = Port::open()?;
    let mut cuse = File::options().read(true).write(true).open("/dev/cuse")?;
    let mut message = vec![0; 128 << 10];
    loop {
        let length = match cuse.read(&mut message) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if let Some(reply) = answer(&message[..length], &mut port) {
            match cuse.write(&reply) {
                // ENOENT: the caller was interrupted and has gone.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
}

/// The reply to one message, if it wants one.
fn answer(message: &[u8], simulator: &mut impl Simulator) -> Option<Vec<u8>> {
    let header = message.first_chunk::<HEADER>()?;
    let body = &message[HEADER..];
    let unique = &header[8..16];
    Some(match word(header, 4) {
        CUSE_INIT => reply(unique, 0, &initialised(body)?),
        FUSE_OPEN => reply(unique, 0, &[0; 16]),
        FUSE_RELEASE | FUSE_FLUSH => reply(unique, 0, &[]),
        FUSE_INTERRUPT => return None,
        FUSE_IOCTL => match ioctl(body, simulator) {
            Ok(out) => reply(unique, 0, &out),
            Err(errno) => reply(unique, -errno, &[]),
        },
        _ => reply(unique, -libc::ENOSYS, &[]),
    })
}

/// `struct cuse_init_out` and the device's name.
fn initialised(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = body.get(..8)?.to_vec(); // the kernel's version of the protocol
    for value in [0, CUSE_UNRESTRICTED_IOCTL, 65536, 65536] {
        out.extend(u32::to_le_bytes(value));
    }
    out.resize(72, 0);
    out.extend(b"DEVNAME=sev-guest\0");
    Some(out)
}

/// One round of `ioctl(fd, SNP_GET_REPORT or SNP_GET_EXT_REPORT, argument)`.
///
/// The driver does not know which memory an ioctl means, so it asks: with no input, for the structure
/// that `argument` points to; with that, for the request it points to; with both, for the places to
/// write to.
fn ioctl(body: &[u8], simulator: &mut impl Simulator) -> Result<Vec<u8>, libc::c_int> {
    let head = body.first_chunk::<IOCTL_IN>().ok_or(libc::EINVAL)?;
    let request_length = match word(head, 12) {
        SNP_GET_REPORT => REQUEST,
        SNP_GET_EXT_REPORT => EXTENDED_REQUEST,
        _ => return Err(libc::ENOTTY), // derived keys are not simulated
    };
    let argument = long(head, 16);
    let input = body.get(IOCTL_IN..IOCTL_IN + word(head, 24) as usize).ok_or(libc::EINVAL)?;
    let outputs_named = word(head, 28) != 0;
    let whole = (argument, GUEST_REQUEST as u64);
    if input.is_empty() {
        return Ok(retry(&[whole], &[]));
    }
    let (guest_request, request) = input.split_first_chunk::<GUEST_REQUEST>().ok_or(libc::EINVAL)?;
    let (request_address, response_address) = (long(guest_request, 8), long(guest_request, 16));
    if guest_request[0] != 1 || request_address == 0 || response_address == 0 {
        return Err(libc::EINVAL); // MSG_VERSION 1, as the kernel's driver
    }
    let inputs = [whole, (request_address, request_length as u64)];
    if request.is_empty() {
        return Ok(retry(&inputs, &[]));
    }
    if request.len() != request_length {
        return Err(libc::EINVAL);
    }
    let extended = Extended::read(request)?;
    if !outputs_named {
        let mut outputs = vec![whole, (response_address, RESPONSE as u64)];
        if let Some(extended) = &extended {
            outputs.push(inputs[1]);
            outputs.push((extended.address, extended.length as u64));
        }
        return Ok(retry(&inputs, &outputs));
    }
    let report_request: &[u8; REQUEST] = request.first_chunk().expect("both kinds are as long");
    let mut out = vec![0; IOCTL_OUT];
    out.extend(&guest_request[..24]);
    out.extend([0; 8]); // exitinfo2: neither firmware nor VMM objects
    let response = response_message(simulator.ask(report_request).map_err(|_| libc::EIO)?);
    out.extend(response);
    if let Some(extended) = extended {
        let table = simulator.certificates().map_err(|_| libc::EIO)?;
        extended.append(&mut out, request, table);
    }
    Ok(out)
}

/// What `struct snp_ext_report_req` says beyond the report request: where certificates go, and how many
/// bytes fit.
struct Extended {
    address: u64,
    length: usize,
}

impl Extended {
    /// `None` for a plain request; the lengths that the kernel's driver accepts, or `EINVAL`.
    fn read(request: &[u8]) -> Result<Option<Self>, libc::c_int> {
        if request.len() != EXTENDED_REQUEST {
            return Ok(None);
        }
        let (address, length) = (long(request, REQUEST), word(request, REQUEST + 8) as usize);
        if address == 0 || length == 0 || length > MAXIMUM_TABLE || !length.is_multiple_of(4096) {
            return Err(libc::EINVAL);
        }
        Ok(Some(Extended { address, length }))
    }

    /// Appends the request with CERTS_LEN, and the table; or fails as the kernel does if it does not fit.
    fn append(&self, out: &mut Vec<u8>, request: &[u8], table: Vec<u8>) {
        let mut request = request.to_vec();
        let fits = table.len() <= self.length;
        if !fits {
            /// SNP_GUEST_VMM_ERR_INVALID_LEN (linux/sev-guest.h), in the high half of EXITINFO2.
            const INVALID_LENGTH: u32 = 1;
            request[REQUEST + 8..REQUEST + 12].copy_from_slice(&(table.len() as u32).to_le_bytes());
            out[0..4].copy_from_slice(&(-libc::EIO).to_le_bytes());
            out[IOCTL_OUT + 28..IOCTL_OUT + 32].copy_from_slice(&INVALID_LENGTH.to_le_bytes());
        }
        out.extend(request);
        let start = out.len();
        if fits {
            out.extend(table);
        }
        out.resize(start + self.length, 0);
    }
}

/// MSG_REPORT_RSP (AMD 56860): STATUS, REPORT_SIZE, 24 reserved bytes, the report; padded to
/// `struct snp_report_resp`.
fn response_message(answer: Answer) -> [u8; RESPONSE] {
    /// INVALID_PARAMS, as firmware answers requests that it does not allow.
    const INVALID_PARAMS: u32 = 0x16;
    let mut message = [0; RESPONSE];
    match answer {
        Answer::Refused => message[..4].copy_from_slice(&INVALID_PARAMS.to_le_bytes()),
        Answer::Report(report) => {
            message[4..8].copy_from_slice(&(REPORT as u32).to_le_bytes());
            message[32..32 + REPORT].copy_from_slice(&*report);
        }
    }
    message
}

/// `struct fuse_ioctl_out` that asks for another round, and its `struct fuse_ioctl_iovec`s.
fn retry(inputs: &[(u64, u64)], outputs: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in [0, FUSE_IOCTL_RETRY, inputs.len() as u32, outputs.len() as u32] {
        out.extend(value.to_le_bytes());
    }
    for (address, length) in inputs.iter().chain(outputs) {
        out.extend(address.to_le_bytes());
        out.extend(length.to_le_bytes());
    }
    out
}

/// `struct fuse_out_header` and a body.
fn reply(unique: &[u8], error: libc::c_int, body: &[u8]) -> Vec<u8> {
    let mut reply = ((16 + body.len()) as u32).to_le_bytes().to_vec();
    reply.extend(error.to_le_bytes());
    reply.extend(unique);
    reply.extend(body);
    reply
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

const CUSE_INIT: u32 = 4096;
const FUSE_OPEN: u32 = 14;
const FUSE_RELEASE: u32 = 18;
const FUSE_FLUSH: u32 = 25;
const FUSE_INTERRUPT: u32 = 36;
const FUSE_IOCTL: u32 = 39;
const CUSE_UNRESTRICTED_IOCTL: u32 = 1;
const FUSE_IOCTL_RETRY: u32 = 4;

/// `struct fuse_in_header`: OPCODE at 4, UNIQUE at 8.
const HEADER: usize = 40;
/// `struct fuse_ioctl_in`: CMD at 12, ARG at 16, IN_SIZE at 24, OUT_SIZE at 28.
const IOCTL_IN: usize = 32;
/// `struct fuse_ioctl_out`: RESULT, FLAGS, IN_IOVS, OUT_IOVS.
const IOCTL_OUT: usize = 16;
/// `struct snp_guest_request_ioctl` (linux/sev-guest.h): MSG_VERSION at 0, REQ_DATA at 8, RESP_DATA at 16.
const GUEST_REQUEST: usize = 32;
/// `struct snp_report_resp`.
const RESPONSE: usize = 4000;
/// `_IOWR('S', 0, struct snp_guest_request_ioctl)`.
const SNP_GET_REPORT: u32 = 0xc020_5300;
/// `_IOWR('S', 2, struct snp_guest_request_ioctl)`.
const SNP_GET_EXT_REPORT: u32 = 0xc020_5302;
/// `struct snp_ext_report_req`: the request, CERTS_ADDRESS at 96, CERTS_LEN at 104, 4 bytes of padding.
const EXTENDED_REQUEST: usize = 112;

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each request in the same way, and counts.
    struct Fixed {
        answer: fn() -> io::Result<Answer>,
        table: Vec<u8>,
        asked: Vec<[u8; REQUEST]>,
    }

    impl Simulator for Fixed {
        fn ask(&mut self, request: &[u8; REQUEST]) -> io::Result<Answer> {
            self.asked.push(*request);
            (self.answer)()
        }

        fn certificates(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.table.clone())
        }
    }

    fn simulator() -> Fixed {
        let answer = || Ok(Answer::Report(Box::new([9; REPORT])));
        Fixed { answer, table: vec![4; 4096], asked: Vec::new() }
    }

    fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[4..8].copy_from_slice(&opcode.to_le_bytes());
        message[8..16].copy_from_slice(&7_u64.to_le_bytes());
        message.extend(body);
        message
    }

    fn ioctl_message(command: u32, input: &[u8], out_size: u32) -> Vec<u8> {
        let mut body = vec![0; IOCTL_IN];
        body[12..16].copy_from_slice(&command.to_le_bytes());
        body[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
        body[24..28].copy_from_slice(&(input.len() as u32).to_le_bytes());
        body[28..32].copy_from_slice(&out_size.to_le_bytes());
        body.extend(input);
        message(FUSE_IOCTL, &body)
    }

    fn guest_request() -> Vec<u8> {
        let mut request = vec![0; GUEST_REQUEST];
        request[0] = 1;
        request[8..16].copy_from_slice(&0x2000_u64.to_le_bytes());
        request[16..24].copy_from_slice(&0x3000_u64.to_le_bytes());
        request
    }

    fn extended_request(address: u64, length: u32) -> Vec<u8> {
        let mut request = vec![5; REQUEST];
        request.extend(address.to_le_bytes());
        request.extend(length.to_le_bytes());
        request.extend([0; 4]);
        [guest_request(), request].concat()
    }

    /// The vectors that a reply asks for.
    fn vectors(reply: &[u8]) -> (Vec<(u64, u64)>, u32) {
        assert_eq!(word(reply, 20), FUSE_IOCTL_RETRY);
        let (inputs, outputs) = (word(reply, 24), word(reply, 28));
        let list =
            (0..(inputs + outputs) as usize).map(|at| (long(reply, 32 + 16 * at), long(reply, 40 + 16 * at)));
        (list.collect(), outputs)
    }

    fn errno(reply: Option<Vec<u8>>) -> i32 {
        -(word(&reply.expect("a reply"), 4) as i32)
    }

    #[test]
    fn a_report_takes_four_rounds() {
        let mut simulator = simulator();
        let mut round =
            |input: &[u8], out| answer(&ioctl_message(SNP_GET_REPORT, input, out), &mut simulator).unwrap();
        assert_eq!(vectors(&round(&[], 0)), (vec![(0x1000, 32)], 0));
        assert_eq!(vectors(&round(&guest_request(), 0)), (vec![(0x1000, 32), (0x2000, 96)], 0));
        let input = [guest_request(), vec![5; REQUEST]].concat();
        let all = vec![(0x1000, 32), (0x2000, 96), (0x1000, 32), (0x3000, 4000)];
        assert_eq!(vectors(&round(&input, 0)), (all, 2));

        let last = round(&input, 4032);
        assert_eq!(last.len(), 16 + IOCTL_OUT + GUEST_REQUEST + RESPONSE);
        assert_eq!((word(&last, 0) as usize, word(&last, 4), long(&last, 8)), (last.len(), 0, 7));
        let response = &last[16 + IOCTL_OUT + GUEST_REQUEST..];
        assert_eq!((word(response, 0), word(response, 4)), (0, REPORT as u32));
        assert_eq!(response[32..32 + REPORT], [9; REPORT]);
        assert_eq!(simulator.asked, [[5; REQUEST]]);
    }

    #[test]
    fn an_extended_report_brings_the_certificates() {
        let mut simulator = simulator();
        let input = extended_request(0x4000, 8192);
        let mut round =
            |out| answer(&ioctl_message(SNP_GET_EXT_REPORT, &input, out), &mut simulator).unwrap();
        let (list, outputs) = vectors(&round(0));
        assert_eq!(outputs, 4);
        assert_eq!(list[2..], [(0x1000, 32), (0x3000, 4000), (0x2000, 112), (0x4000, 8192)]);
        let last = round(12336);
        assert_eq!(last.len(), 16 + IOCTL_OUT + GUEST_REQUEST + RESPONSE + EXTENDED_REQUEST + 8192);
        let table = &last[last.len() - 8192..];
        assert_eq!((&table[..4096], &table[4096..]), (&[4; 4096][..], &[0; 4096][..]));
    }

    #[test]
    fn certificates_that_do_not_fit_say_how_many_bytes_they_need() {
        let mut simulator = simulator();
        simulator.table = vec![4; 8192];
        let input = extended_request(0x4000, 4096);
        let reply = answer(&ioctl_message(SNP_GET_EXT_REPORT, &input, 8240), &mut simulator).unwrap();
        assert_eq!(word(&reply, 16) as i32, -libc::EIO);
        assert_eq!(long(&reply, 16 + IOCTL_OUT + 24), 1 << 32);
        let request = &reply[16 + IOCTL_OUT + GUEST_REQUEST + RESPONSE..];
        assert_eq!(word(request, REQUEST + 8), 8192);
        assert!(request[EXTENDED_REQUEST..].iter().all(|byte| *byte == 0), "no part of the table");
    }

    #[test]
    fn a_refusal_is_a_status_and_a_lost_port_an_error() {
        let input = [guest_request(), vec![5; REQUEST]].concat();
        let message = ioctl_message(SNP_GET_REPORT, &input, 4032);
        let mut simulator = simulator();
        simulator.answer = || Ok(Answer::Refused);
        let refused = answer(&message, &mut simulator).unwrap();
        assert_eq!(word(&refused, 16 + IOCTL_OUT + GUEST_REQUEST), 0x16);
        simulator.answer = || Err(io::ErrorKind::TimedOut.into());
        assert_eq!(errno(answer(&message, &mut simulator)), libc::EIO);
    }

    #[test]
    fn other_requests_are_refused_without_asking() {
        let mut simulator = simulator();
        let mut refused =
            |command: u32, input: &[u8]| errno(answer(&ioctl_message(command, input, 1), &mut simulator));
        assert_eq!(refused(0xc020_5301, &[]), libc::ENOTTY);
        assert_eq!(refused(SNP_GET_REPORT + 0x100, &[]), libc::ENOTTY);
        assert_eq!(refused(SNP_GET_REPORT, &[0; 31]), libc::EINVAL);
        assert_eq!(refused(SNP_GET_REPORT, &[0; 32]), libc::EINVAL);
        assert_eq!(refused(SNP_GET_REPORT, &[guest_request(), vec![0; 95]].concat()), libc::EINVAL);
        for (address, length) in [(0, 4096), (0x4000, 0), (0x4000, 4095), (0x4000, 20480), (0x4000, u32::MAX)]
        {
            assert_eq!(refused(SNP_GET_EXT_REPORT, &extended_request(address, length)), libc::EINVAL);
        }
        let mut longer_than_sent = ioctl_message(SNP_GET_REPORT, &guest_request(), 0);
        longer_than_sent[HEADER + 24] = 200;
        assert_eq!(errno(answer(&longer_than_sent, &mut simulator)), libc::EINVAL);
        assert_eq!(errno(answer(&message(FUSE_IOCTL, &[0; 31]), &mut simulator)), libc::EINVAL);
        assert_eq!(errno(answer(&message(15, &[]), &mut simulator)), libc::ENOSYS);
        assert!(simulator.asked.is_empty());
    }

    #[test]
    fn short_messages_and_interrupts_get_no_reply() {
        assert_eq!(answer(&[0; HEADER - 1], &mut simulator()), None);
        assert_eq!(answer(&message(CUSE_INIT, &[0; 7]), &mut simulator()), None);
        assert_eq!(answer(&message(FUSE_INTERRUPT, &[]), &mut simulator()), None);
    }

    #[test]
    fn the_device_introduces_itself() {
        let message = message(CUSE_INIT, &[7, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0]);
        let reply = answer(&message, &mut simulator()).unwrap();
        assert_eq!(reply.len(), 16 + 72 + 18);
        assert_eq!((word(&reply, 16), word(&reply, 20), word(&reply, 28)), (7, 41, CUSE_UNRESTRICTED_IOCTL));
        assert!(reply.ends_with(b"DEVNAME=sev-guest\0"));
    }
}
