//! casemate-rootfs
