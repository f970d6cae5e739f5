//! PID 1 of the initramfs.

fn main() -> ! {
    casemate_init::run()
}
