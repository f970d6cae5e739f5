//! How does the kernel speak to a character device in user space?
//!
//! Messages of the FUSE protocol over `/dev/cuse` (linux/fuse.h): a 40-byte header, then the body; each
//! answer is one write. Numbers are in the machine's byte order, here little-endian.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use crate::port::{Answer, Port, REPORT, REQUEST};

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
        if let Some(reply) = answer(&message[..length], |request| port.ask(request)) {
            match cuse.write(&reply) {
                // ENOENT: the caller was interrupted and has gone.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
}

/// The reply to one message, if it wants one.
fn answer(message: &[u8], ask: impl FnOnce(&[u8; REQUEST]) -> io::Result<Answer>) -> Option<Vec<u8>> {
    let header = message.first_chunk::<HEADER>()?;
    let body = &message[HEADER..];
    let unique = &header[8..16];
    Some(match word(header, 4) {
        CUSE_INIT => reply(unique, 0, &initialised(body)?),
        FUSE_OPEN => reply(unique, 0, &[0; 16]),
        FUSE_RELEASE | FUSE_FLUSH => reply(unique, 0, &[]),
        FUSE_INTERRUPT => return None,
        FUSE_IOCTL => match ioctl(body, ask) {
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

/// One round of `ioctl(fd, SNP_GET_REPORT, argument)`.
///
/// The driver does not know which memory an ioctl means, so it asks: with no input, for the structure
/// that `argument` points to; with that, for the request it points to and the places to write to.
fn ioctl(
    body: &[u8],
    ask: impl FnOnce(&[u8; REQUEST]) -> io::Result<Answer>,
) -> Result<Vec<u8>, libc::c_int> {
    let head = body.first_chunk::<IOCTL_IN>().ok_or(libc::EINVAL)?;
    if word(head, 12) != SNP_GET_REPORT {
        return Err(libc::ENOTTY); // extended reports and derived keys are not simulated
    }
    let argument = long(head, 16);
    let input = body.get(IOCTL_IN..IOCTL_IN + word(head, 24) as usize).ok_or(libc::EINVAL)?;
    if input.is_empty() {
        return Ok(retry(&[(argument, GUEST_REQUEST as u64)], &[]));
    }
    let guest_request = input.first_chunk::<GUEST_REQUEST>().ok_or(libc::EINVAL)?;
    let (message_version, request, response) =
        (guest_request[0], long(guest_request, 8), long(guest_request, 16));
    if message_version != 1 || request == 0 || response == 0 {
        return Err(libc::EINVAL);
    }
    if input.len() == GUEST_REQUEST {
        let outputs = [(argument, GUEST_REQUEST as u64), (response, RESPONSE as u64)];
        return Ok(retry(&[(argument, GUEST_REQUEST as u64), (request, REQUEST as u64)], &outputs));
    }
    let request: &[u8; REQUEST] = input[GUEST_REQUEST..].try_into().map_err(|_| libc::EINVAL)?;
    let mut out = vec![0; IOCTL_OUT];
    out.extend(&guest_request[..24]);
    out.extend([0; 8]); // exitinfo2: neither firmware nor VMM objects
    out.extend(response_message(ask(request).map_err(|_| libc::EIO)?));
    Ok(out)
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
/// `struct fuse_ioctl_in`: CMD at 12, ARG at 16, IN_SIZE at 24.
const IOCTL_IN: usize = 32;
/// `struct fuse_ioctl_out`: RESULT, FLAGS, IN_IOVS, OUT_IOVS.
const IOCTL_OUT: usize = 16;
/// `struct snp_guest_request_ioctl` (linux/sev-guest.h): MSG_VERSION at 0, REQ_DATA at 8, RESP_DATA at 16.
const GUEST_REQUEST: usize = 32;
/// `struct snp_report_resp`.
const RESPONSE: usize = 4000;
/// `_IOWR('S', 0, struct snp_guest_request_ioctl)`.
const SNP_GET_REPORT: u32 = 0xc020_5300;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[4..8].copy_from_slice(&opcode.to_le_bytes());
        message[8..16].copy_from_slice(&7_u64.to_le_bytes());
        message.extend(body);
        message
    }

    fn ioctl_body(command: u32, input: &[u8]) -> Vec<u8> {
        let mut body = vec![0; IOCTL_IN];
        body[12..16].copy_from_slice(&command.to_le_bytes());
        body[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
        body[24..28].copy_from_slice(&(input.len() as u32).to_le_bytes());
        body.extend(input);
        body
    }

    fn guest_request() -> Vec<u8> {
        let mut request = vec![0; GUEST_REQUEST];
        request[0] = 1;
        request[8..16].copy_from_slice(&0x2000_u64.to_le_bytes());
        request[16..24].copy_from_slice(&0x3000_u64.to_le_bytes());
        request
    }

    fn never(_: &[u8; REQUEST]) -> io::Result<Answer> {
        panic!("the simulator is not asked yet")
    }

    fn errno(reply: Option<Vec<u8>>) -> i32 {
        -(word(&reply.expect("a reply"), 4) as i32)
    }

    #[test]
    fn a_report_takes_three_rounds() {
        let first = answer(&message(FUSE_IOCTL, &ioctl_body(SNP_GET_REPORT, &[])), never).unwrap();
        assert_eq!((word(&first, 20), word(&first, 24), word(&first, 28)), (FUSE_IOCTL_RETRY, 1, 0));
        assert_eq!((long(&first, 32), long(&first, 40)), (0x1000, 32));

        let second =
            answer(&message(FUSE_IOCTL, &ioctl_body(SNP_GET_REPORT, &guest_request())), never).unwrap();
        assert_eq!((word(&second, 20), word(&second, 24), word(&second, 28)), (FUSE_IOCTL_RETRY, 2, 2));
        let vectors: Vec<_> =
            (0..4).map(|index| (long(&second, 32 + 16 * index), long(&second, 40 + 16 * index))).collect();
        assert_eq!(vectors, [(0x1000, 32), (0x2000, 96), (0x1000, 32), (0x3000, 4000)]);

        let input = [guest_request(), vec![5; REQUEST]].concat();
        let third = answer(&message(FUSE_IOCTL, &ioctl_body(SNP_GET_REPORT, &input)), |request| {
            assert_eq!(request, &[5; REQUEST]);
            Ok(Answer::Report(Box::new([9; REPORT])))
        })
        .unwrap();
        assert_eq!(third.len(), 16 + IOCTL_OUT + GUEST_REQUEST + RESPONSE);
        assert_eq!((word(&third, 0) as usize, word(&third, 4), long(&third, 8)), (third.len(), 0, 7));
        let response = &third[16 + IOCTL_OUT + GUEST_REQUEST..];
        assert_eq!((word(response, 0), word(response, 4)), (0, REPORT as u32));
        assert_eq!(response[32..32 + REPORT], [9; REPORT]);
    }

    #[test]
    fn a_refusal_is_a_status_and_a_lost_port_an_error() {
        let input = [guest_request(), vec![5; REQUEST]].concat();
        let body = ioctl_body(SNP_GET_REPORT, &input);
        let refused = answer(&message(FUSE_IOCTL, &body), |_| Ok(Answer::Refused)).unwrap();
        assert_eq!(word(&refused, 16 + IOCTL_OUT + GUEST_REQUEST), 0x16);
        assert_eq!(
            errno(answer(&message(FUSE_IOCTL, &body), |_| Err(io::ErrorKind::TimedOut.into()))),
            libc::EIO
        );
    }

    #[test]
    fn other_requests_are_refused() {
        let refused = |body: &[u8]| errno(answer(&message(FUSE_IOCTL, body), never));
        assert_eq!(refused(&ioctl_body(0xc020_5302, &[])), libc::ENOTTY);
        assert_eq!(refused(&ioctl_body(0xc020_5301, &[])), libc::ENOTTY);
        assert_eq!(refused(&ioctl_body(SNP_GET_REPORT, &[0; 31])), libc::EINVAL);
        assert_eq!(refused(&ioctl_body(SNP_GET_REPORT, &[0; 32])), libc::EINVAL);
        assert_eq!(
            refused(&ioctl_body(SNP_GET_REPORT, &[guest_request(), vec![0; 95]].concat())),
            libc::EINVAL
        );
        assert_eq!(refused(&[0; 31]), libc::EINVAL);
        let mut longer_than_sent = ioctl_body(SNP_GET_REPORT, &guest_request());
        longer_than_sent[24] = 200;
        assert_eq!(refused(&longer_than_sent), libc::EINVAL);
        assert_eq!(errno(answer(&message(15, &[]), never)), libc::ENOSYS);
    }

    #[test]
    fn short_messages_and_interrupts_get_no_reply() {
        assert_eq!(answer(&[0; HEADER - 1], never), None);
        assert_eq!(answer(&message(CUSE_INIT, &[0; 7]), never), None);
        assert_eq!(answer(&message(FUSE_INTERRUPT, &[]), never), None);
    }

    #[test]
    fn the_device_introduces_itself() {
        let reply = answer(&message(CUSE_INIT, &[7, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0]), never).unwrap();
        assert_eq!(reply.len(), 16 + 72 + 18);
        assert_eq!((word(&reply, 16), word(&reply, 20), word(&reply, 28)), (7, 41, CUSE_UNRESTRICTED_IOCTL));
        assert!(reply.ends_with(b"DEVNAME=sev-guest\0"));
    }
}
