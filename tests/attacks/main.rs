//! What can a host, a relay, another tenant or bad input try, and what does it meet?
//!
//! One file per attack, or per family of attacks that share a setting; each names the attack, where it was asked
//! for, and the one error that is expected. Everything here drives the real programs: guests under QEMU
//! ([`guests`], several attacks to a boot), a real seat or validator over its socket, or what init calls with
//! the bytes of a disk. `SPECIFICATION.md`, section 15, has the whole list, with the attacks that are tested
//! where their code is.

mod acpi;
mod agent_messages;
mod authority;
mod boot_files;
mod clones;
mod disk_full;
mod evidence;
mod guests;
mod image_layer;
mod key_leak;
mod kill_guest;
mod kill_machine;
mod kill_seat;
mod kill_validator;
mod luks_headers;
mod old_sectors;
mod owner;
mod relay_messages;
mod running;
mod secrets_replay;
mod target;
mod volumes;
mod workload_report_data;
