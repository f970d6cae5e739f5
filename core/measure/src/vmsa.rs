//! In which state does each virtual processor start?
//!
//! The save area is AMD 24593 (APM volume 2), Table B-4 "VMSA Layout, State Save Area for SEV-ES"; the
//! values are those that each VMM and KVM leave at reset.

use crate::shape::{GuestFeatures, VcpuSignature};

/// Who prepares memory and processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2: another reset state, and the CPUID page measured last.
    Ec2,
    /// Google Compute Engine: another reset state, and firmware memory left unmeasured.
    Gce,
}

/// One 4096-byte save area, as measured.
pub(crate) fn page(
    vmm: Vmm,
    address: u32,
    signature: VcpuSignature,
    features: Option<GuestFeatures>,
) -> [u8; 4096] {
    let reset = Reset::of(vmm, address, signature);
    let mut page = [0; 4096];
    let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
    for segment in reset.segments(address) {
        put(segment.offset, &segment.bytes());
    }
    put(0x0d0, &0x1000_u64.to_le_bytes()); // EFER: SVME, which KVM sets
    put(0x148, &0x40_u64.to_le_bytes()); // CR4: MCE, which KVM sets
    put(0x158, &0x10_u64.to_le_bytes()); // CR0: ET
    put(0x160, &0x400_u64.to_le_bytes()); // DR7
    put(0x168, &0xffff_0ff0_u64.to_le_bytes()); // DR6
    put(0x170, &2_u64.to_le_bytes()); // RFLAGS
    put(0x178, &u64::from(address & 0xffff).to_le_bytes()); // RIP
    put(0x268, &reset.g_pat.to_le_bytes());
    put(0x310, &u64::from(reset.rdx).to_le_bytes());
    put(0x3b0, &features.map_or(0, |features| features.bits()).to_le_bytes()); // SEV_FEATURES; 0 for SEV-ES
    put(0x3e8, &1_u64.to_le_bytes()); // XCR0: x87
    put(0x408, &reset.mxcsr.to_le_bytes());
    put(0x410, &reset.x87_control.to_le_bytes());
    page
}

/// Where the first processor of every x86 machine starts.
pub(crate) const FIRST_ADDRESS: u32 = 0xffff_fff0;

/// What differs between VMMs.
struct Reset {
    code: u16,
    stack: u16,
    task: u16,
    g_pat: u64,
    rdx: u32,
    mxcsr: u32,
    x87_control: u16,
}

impl Reset {
    fn of(vmm: Vmm, address: u32, signature: VcpuSignature) -> Self {
        let power_on_pat = 0x0007_0406_0007_0406;
        match vmm {
            Vmm::Qemu => Reset {
                code: 0x9b,
                stack: 0x93,
                task: 0x8b,
                g_pat: power_on_pat,
                rdx: signature.0,
                mxcsr: 0x1f80,
                x87_control: 0x37f,
            },
            Vmm::Ec2 => Reset {
                code: if address == FIRST_ADDRESS { 0x9a } else { 0x9b },
                stack: 0x92,
                task: 0x83,
                g_pat: power_on_pat,
                rdx: 0x600,
                mxcsr: 0,
                x87_control: 0,
            },
            Vmm::Gce => Reset {
                code: 0x9b,
                stack: 0x93,
                task: 0x8b,
                g_pat: 0x0007_0106,
                rdx: 0x600,
                mxcsr: 0,
                x87_control: 0,
            },
        }
    }

    fn segments(&self, address: u32) -> [Segment; 10] {
        let data = |offset, attributes| Segment { offset, selector: 0, attributes, base: 0 };
        [
            data(0x00, 0x93), // ES
            Segment { offset: 0x10, selector: 0xf000, attributes: self.code, base: address & 0xffff_0000 },
            data(0x20, self.stack),
            data(0x30, 0x93), // DS
            data(0x40, 0x93), // FS
            data(0x50, 0x93), // GS
            data(0x60, 0),    // GDTR
            data(0x70, 0x82), // LDTR
            data(0x80, 0),    // IDTR
            data(0x90, self.task),
        ]
    }
}

/// A segment register; the limit is 0xffff at reset.
struct Segment {
    offset: usize,
    selector: u16,
    attributes: u16,
    base: u32,
}

impl Segment {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0..2].copy_from_slice(&self.selector.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.attributes.to_le_bytes());
        bytes[4..8].copy_from_slice(&0xffff_u32.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.base.to_le_bytes());
        bytes
    }
}
