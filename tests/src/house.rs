//! Which crate stands in which room, and what may it use?

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde::Deserialize;

/// The top folders, by who must be trusted (ARCHITECTURE.md, "Rooms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Pure logic, shared by every side.
    Core,
    /// I/O that several sides need.
    Link,
    /// Inside the confidential VM.
    Guest,
    /// On the provider's machine.
    Host,
    /// The services that decide.
    Control,
    /// Public memory: the clients of contracts.
    Chain,
    /// What people hold.
    Client,
    /// Workloads that Casemate ships.
    Apps,
    /// The builder of guest images.
    Image,
    /// Tests, fuzzing, benchmarks and tasks, which may use everything.
    Workshop,
}

impl Room {
    /// The room of a crate whose folder, relative to the workspace, is `folder`.
    pub fn of(folder: &str) -> Option<Self> {
        Some(match folder.split('/').next()? {
            "core" => Room::Core,
            "link" => Room::Link,
            "guest" => Room::Guest,
            "host" => Room::Host,
            "control" => Room::Control,
            "chain" => Room::Chain,
            "client" => Room::Client,
            "apps" => Room::Apps,
            "image" => Room::Image,
            "tests" | "fuzz" | "bench" | "xtask" => Room::Workshop,
            _ => return None,
        })
    }

    /// Whether code in this room, in `folder`, may use code in `other`, in `other_folder`.
    pub fn may_use(self, folder: &str, other: Room, other_folder: &str) -> bool {
        match self {
            Room::Workshop => true,
            Room::Core => other == Room::Core,
            Room::Link => matches!(other, Room::Core | Room::Link),
            Room::Guest => {
                matches!(other, Room::Core | Room::Link)
                    || other_folder == "guest/sys"
                    || folder == other_folder
            }
            Room::Host | Room::Apps | Room::Chain | Room::Image => matches!(other, Room::Core | Room::Link),
            Room::Control => matches!(other, Room::Core | Room::Link) || other_folder == "chain/rpc",
            Room::Client => {
                matches!(other, Room::Core | Room::Link | Room::Image) || other_folder == "chain/rpc"
            }
        }
    }
}

/// A crate of the workspace and the crates of the workspace that it is built from.
#[derive(Debug)]
pub struct Crate {
    /// Folder relative to the workspace, with `/`.
    pub folder: String,
    /// Names of workspace crates among its normal and build dependencies.
    pub uses: Vec<String>,
}

/// Every crate of the workspace by name.
pub fn crates() -> BTreeMap<String, Crate> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
        workspace_root: PathBuf,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
        path: Option<PathBuf>,
    }

    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let root = metadata.workspace_root;
    metadata
        .packages
        .into_iter()
        .map(|package| {
            let folder = package
                .manifest_path
                .parent()
                .and_then(|path| path.strip_prefix(&root).ok())
                .expect("a member lies inside the workspace")
                .to_string_lossy()
                .into_owned();
            // Tests may use everything, so development dependencies do not count.
            let uses = package
                .dependencies
                .into_iter()
                .filter(|dependency| dependency.path.is_some() && dependency.kind.as_deref() != Some("dev"))
                .map(|dependency| dependency.name)
                .collect();
            (package.name, Crate { folder, uses })
        })
        .collect()
}
