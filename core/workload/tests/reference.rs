//! Do the reference pages say what the code does?
//!
//! With `CASEMATE_UPDATE_DOCS=1` the generated parts are written instead of compared.

#[path = "support/page.rs"]
mod page;

use std::fmt::Write as _;

use casemate_record::{AppId, KmsId};
use casemate_workload::{
    Manifest, Substitutions,
    compose::{KEYS, Section},
    manifest::{File, Image, ImageConfig, Inputs},
};
use page::compare;

#[test]
fn the_keys_of_compose_files_are_listed() {
    let mut text = String::new();
    for section in Section::ALL {
        let _ = writeln!(text, "\n### {}\n\n| Key | Written as | Here |\n|---|---|---|", place(*section));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = writeln!(text, "| `{}` | {} | {} |", key.name, key.forms.replace('|', "\\|"), key.note);
        }
    }
    compare("compose.md", "keys", &text);
}

#[test]
fn the_worked_manifest_is_what_this_version_writes() {
    let manifest = worked_manifest();
    let bytes = manifest.to_bytes();
    let mut text = String::from("\n```\n");
    for line in bytes.chunks(32) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "{}", hex.concat());
    }
    let _ = writeln!(text, "```\n\n{} bytes; workload digest `{}`.\n", bytes.len(), manifest.digest());
    compare("manifest.md", "bytes", &text);
}

#[test]
fn the_worked_manifest_as_json() {
    let json = serde_json::to_string_pretty(&worked_manifest()).unwrap();
    compare("manifest.md", "json", &format!("\n```json\n{json}\n```\n"));
}

fn worked_manifest() -> Manifest {
    let compose = "services:\n  web:\n    image: oci:web\n    environment: {KEY: \"${KEY}\"}\n    \
                   ports: [\"${PORT}:80\"]\n    configs: [page]\nconfigs: {page: {file: page.html}}\n\
                   x-casemate: {egress: [\"example.org:443\"], observe: {logs: true}}\n";
    let inputs = Inputs {
        name: "web".into(),
        compose: compose.into(),
        substitutions: Substitutions::from_iter([("PORT", "8080")]),
        images: vec![Image {
            service: "web".into(),
            reference: "oci:web".into(),
            oci_digest: [0x11; 32].into(),
            root_hash: [0x22; 32].into(),
            data_blocks: 512,
            config: ImageConfig { cmd: vec!["/web".into()], ..ImageConfig::default() },
        }],
        files: vec![File { name: "page.html".into(), digest: [0x33; 32].into(), size_bytes: 5 }],
        app_id: AppId::from([0x44; 32]),
        kms_id: KmsId::from([0x55; 32]),
        threshold: 1,
    };
    Manifest::new(inputs).unwrap().0
}

fn place(section: Section) -> &'static str {
    match section {
        Section::File => "The file",
        Section::Service => "`services.NAME`",
        Section::Build => "`services.NAME.build`",
        Section::Healthcheck => "`services.NAME.healthcheck`",
        Section::DependsOn => "`services.NAME.depends_on.NAME`",
        Section::Port => "`services.NAME.ports[]`",
        Section::Mount => "`services.NAME.volumes[]`",
        Section::MountTmpfs => "`services.NAME.volumes[].tmpfs`",
        Section::FileMount => "`services.NAME.configs[]`, `services.NAME.secrets[]`",
        Section::Volume => "`volumes.NAME`",
        Section::Config => "`configs.NAME`",
        Section::Secret => "`secrets.NAME`",
        Section::Extension => "`x-casemate`",
        Section::Observe => "`x-casemate.observe`",
        other => panic!("{other:?} has no heading in the reference"),
    }
}
