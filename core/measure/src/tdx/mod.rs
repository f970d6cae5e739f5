//! What does TDX measure at launch?
//!
//! MRTD is the TDX module's: every page that the host adds before the trust domain runs ([`firmware`]).
//! RTMR 0 to 2 are the firmware's and the kernel stub's: what they were configured with and what they
//! start ([`boot`]). Sources: "Intel TDX Virtual Firmware Design Guide" (344991), "Intel TDX Module ABI"
//! (348551), and edk2's OvmfPkg as it measures.

pub mod boot;
pub mod firmware;
pub mod hob;
