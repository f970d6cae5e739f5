//! The attacks that need a guest, several in a row on one app: a boot takes long where nothing but an emulator
//! runs it.

use casemate_tests::findings::Findings;

use crate::{
    acpi, boot_files, disk_full, image_layer, kill_guest, kill_machine, running, target::Target, volumes,
    workload_report_data,
};

#[test]
fn what_boots_is_what_was_measured() {
    let target = Target::up();
    target.stop();
    let mut findings = Findings::new();
    boot_files::attack(&target, &mut findings);
    image_layer::attack_before_boot(&target, &mut findings);
    image_layer::attack_the_root(&target, &mut findings);
    acpi::attack(&target, &mut findings);
    findings.finish();
}

#[test]
fn no_disk_but_the_newest_is_opened() {
    volumes::attack();
}

#[test]
fn an_app_that_runs_keeps_its_secrets_and_its_volume() {
    running::attack();
}

#[test]
fn a_kill_between_any_two_steps_of_a_boot_loses_nothing() {
    kill_guest::attack();
}

#[test]
fn whatever_is_killed_the_same_command_goes_on() {
    kill_machine::attack();
}

#[test]
fn a_host_without_room_loses_nothing() {
    disk_full::under_a_guest();
}

#[test]
fn a_workload_speaks_for_nobody_but_itself() {
    workload_report_data::attack();
}
