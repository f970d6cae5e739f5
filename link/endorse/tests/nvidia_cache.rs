//! The cache against a service of NVIDIA's manifests on this machine: what is asked, what is kept, what is refused.
//! Devices and signers are simulated, their root is in the list that the cache is given; recorded manifests are
//! carried by a file.

#[path = "../../../core/verify/tests/support/nvidia.rs"]
mod nvidia;
#[path = "support/server.rs"]
mod server;
#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_endorse::{
    Cache, Completed, Error, Etiquette, Item, Key, ManifestRefusal, ManifestServer, OfflineBundle,
};
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::nvidia::Manifest;
use casemate_verify::Roots;
use nvidia::{Device, Golden};
use server::Server;
use support::{DAY_MS, NOW_MS, Rsa};

const DRIVER: &str = "NV_GPU_DRIVER_GH100_550.90.07";
const VBIOS: &str = "NV_GPU_VBIOS_1010_0200_882_96009F0001";

/// A device, a server that has its manifests, and a folder.
struct World {
    device: Device,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = Self { device: Device::new(), server: Server::start(HashMap::new()).await, folder };
        world.serve(DRIVER, &Golden::driver().to_bytes());
        world.serve(VBIOS, &Golden::vbios().to_bytes());
        world
    }

    /// As NVIDIA answers.
    fn serve(&self, id: &str, document: &[u8]) {
        let body = format!(r#"{{"id":"{id}","rim":"{}","request_id":"1"}}"#, STANDARD.encode(document));
        self.answer(id, 200, body.as_bytes());
    }

    fn answer(&self, id: &str, status: u16, body: &[u8]) {
        self.server.answer(&format!("/v1/rim/{id}"), status, body.to_vec());
    }

    fn offline(&self) -> Cache {
        let roots = Roots::none().with_simulated([self.device.tee.simulated_root()]);
        Cache::offline(self.folder.path(), roots)
    }

    /// Nobody waits, nothing is remembered, everything is asked.
    fn online(&self) -> Cache {
        let etiquette = Etiquette {
            burst: 1000,
            failures_kept: Duration::ZERO,
            refresh_after: Duration::MAX,
            ..Etiquette::person()
        };
        self.offline()
            .with_manifest_server(ManifestServer::at(&self.server.base, etiquette).expect("a client"))
    }

    fn bundle(&self) -> Bundle {
        Bundle::new([EvidenceItem::NvidiaDevices(vec![self.device.item()])])
    }
}

async fn complete(cache: &Cache, bundle: Bundle, now_ms: u64) -> Completed {
    cache.complete(bundle, now_ms).await.expect("what is missing is for the policy")
}

fn versions(bundle: &Bundle) -> Vec<String> {
    let version = |bytes: &[u8]| Manifest::parse(bytes).expect("a manifest").version().to_owned();
    bundle.nvidia_manifests().iter().map(|bytes| version(bytes)).collect()
}

#[tokio::test]
async fn what_is_fetched_is_kept_and_serves_without_a_network() {
    let world = World::new().await;
    // Signed once: RSASSA-PSS has other bytes each time.
    let bundle = world.bundle();
    let absent = complete(&world.offline(), bundle.clone(), NOW_MS).await;
    assert_eq!(absent.bundle, bundle);
    assert!(
        matches!(&absent.missing_manifests[..], [Error::NoManifest { id, .. }, Error::NoManifest { .. }] if id == DRIVER),
        "{:?}",
        absent.missing_manifests
    );
    for cache in [world.online(), world.online(), world.offline()] {
        let completed = complete(&cache, world.bundle(), NOW_MS).await;
        assert_eq!(versions(&completed.bundle), ["550.90.07", "96.00.9F.00.01"]);
        assert!(completed.missing_manifests.is_empty(), "{:?}", completed.missing_manifests);
    }
    assert_eq!(world.server.asked(), [DRIVER, VBIOS].map(|id| format!("/v1/rim/{id}")), "each once");
    let entries = world.offline().entries();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert!(
            matches!(entry.item, Item::NvidiaManifest(_)) && matches!(entry.key, Key::NvidiaManifest { .. })
        );
        assert!(entry.not_before_ms < NOW_MS && NOW_MS < entry.not_after_ms);
    }
}

#[tokio::test]
async fn what_evidence_carries_is_not_asked_for_and_strangers_ask_for_nothing() {
    let world = World::new().await;
    let carried =
        world.bundle().with(EvidenceItem::NvidiaManifests(vec![Golden::driver().to_bytes().into()]));
    let completed = complete(&world.online(), carried, NOW_MS).await;
    assert_eq!(versions(&completed.bundle), ["550.90.07", "96.00.9F.00.01"]);
    assert_eq!(world.server.asked(), [format!("/v1/rim/{VBIOS}")]);

    let world = World::new().await;
    let mut stranger = world.device.clone();
    stranger.tee.leaf.signer = Rsa::Other;
    let bundle = Bundle::new([EvidenceItem::NvidiaDevices(vec![stranger.item()])]);
    let completed = complete(&world.online(), bundle.clone(), NOW_MS).await;
    assert_eq!(completed.bundle, bundle);
    assert!(completed.missing_manifests.is_empty() && world.server.asked().is_empty());
}

#[tokio::test]
async fn garbage_is_named_and_never_kept() {
    let good = Golden::driver().to_bytes();
    let changed = String::from_utf8(good.clone()).expect("text").replace("Hash0=\"ee", "Hash0=\"ef");
    let mut stranger = Golden::driver();
    stranger.tee.leaf.signer = Rsa::Other;
    let encoded = |document: &[u8]| {
        format!(r#"{{"id":"{DRIVER}","rim":"{}"}}"#, STANDARD.encode(document)).into_bytes()
    };
    type Row = (&'static str, Vec<u8>, fn(&ManifestRefusal) -> bool);
    let rows: Vec<Row> = vec![
        ("no JSON", b"<html>".to_vec(), |why| matches!(why, ManifestRefusal::Answer(_))),
        ("no rim", br#"{"id":"x"}"#.to_vec(), |why| matches!(why, ManifestRefusal::Answer(_))),
        (
            "another id",
            br#"{"id":"NV_GPU_DRIVER_GH100_1","rim":""}"#.to_vec(),
            |why| matches!(why, ManifestRefusal::Other { found, .. } if found == "NV_GPU_DRIVER_GH100_1"),
        ),
        ("no base64", format!(r#"{{"id":"{DRIVER}","rim":"!"}}"#).into_bytes(), |why| {
            matches!(why, ManifestRefusal::Base64(_))
        }),
        ("no manifest", encoded(b"<a/>"), |why| matches!(why, ManifestRefusal::Format(_))),
        (
            "another version",
            encoded(&Golden::vbios().to_bytes()),
            |why| matches!(why, ManifestRefusal::Other { found, .. } if found == "96.00.9F.00.01"),
        ),
        ("changed", encoded(changed.as_bytes()), |why| matches!(why, ManifestRefusal::NotEndorsed(_))),
        ("a stranger's", encoded(&stranger.to_bytes()), |why| matches!(why, ManifestRefusal::NotEndorsed(_))),
    ];
    for (name, body, expected) in rows {
        let world = World::new().await;
        world.answer(DRIVER, 200, &body);
        let completed = complete(&world.online(), world.bundle(), NOW_MS).await;
        let refusal = match &completed.missing_manifests[..] {
            [Error::Manifest { source, .. }] => source,
            [Error::Shared(error)] => match &**error {
                Error::Manifest { source, .. } => source,
                other => panic!("{name}: {other}"),
            },
            other => panic!("{name}: {other:?}"),
        };
        assert!(expected(refusal), "{name}: {refusal}");
        assert_eq!(versions(&completed.bundle), ["96.00.9F.00.01"], "{name}: the other is had all the same");
        assert_eq!(world.offline().entries().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn during_an_outage_what_is_kept_serves_until_its_own_end() {
    let world = World::new().await;
    complete(&world.online(), world.bundle(), NOW_MS).await;
    world.answer(DRIVER, 503, b"");
    world.answer(VBIOS, 200, b"<html>");
    // The disk says by the real clock when a file was written; signers are good for a thousand days.
    let later_ms = NOW_MS + 900 * DAY_MS;
    let etiquette =
        Etiquette { refresh_after: Duration::ZERO, failures_kept: Duration::ZERO, ..Etiquette::person() };
    let server = ManifestServer::at(&world.server.base, etiquette).expect("a client");
    let asking = world.offline().with_manifest_server(server);
    let completed = complete(&asking, world.bundle(), later_ms).await;
    assert_eq!(versions(&completed.bundle), ["550.90.07", "96.00.9F.00.01"]);
    assert!(world.server.count("/v1/rim/") == 4, "both were asked for anew: {:?}", world.server.asked());
    // The certificates of the signers end after a thousand days; so does what they signed.
    let end_ms = Golden::driver().tee.leaf.not_after_ms;
    let mut device = world.device.clone();
    for part in [&mut device.tee.leaf, &mut device.tee.intermediate, &mut device.tee.root] {
        part.not_after_ms = end_ms + 10 * DAY_MS;
    }
    let bundle = Bundle::new([EvidenceItem::NvidiaDevices(vec![device.item()])]);
    let completed = complete(&world.offline(), bundle.clone(), end_ms + DAY_MS).await;
    assert_eq!(completed.missing_manifests.len(), 2);
    assert_eq!(completed.bundle, bundle);
    // A file that was changed on disk counts as absent.
    let file = std::fs::read_dir(world.folder.path().join("nvidia")).expect("a folder").next();
    std::fs::write(file.expect("a file").expect("a file").path(), b"<a/>").expect("it is ours");
    let completed = complete(&world.offline(), world.bundle(), NOW_MS).await;
    assert_eq!(completed.missing_manifests.len(), 1);
}

#[tokio::test]
async fn manifests_travel_in_a_file_and_are_verified_where_they_come() {
    let world = World::new().await;
    complete(&world.online(), world.bundle(), NOW_MS).await;
    let carried = OfflineBundle::parse(&world.offline().export().to_bytes()).expect("a bundle");
    let elsewhere = World::new().await;
    let kept = elsewhere.offline().import(carried.items(), NOW_MS);
    assert!(kept.iter().all(Result::is_ok), "{kept:?}");
    let completed = complete(&elsewhere.offline(), elsewhere.bundle(), NOW_MS).await;
    assert_eq!(versions(&completed.bundle), ["550.90.07", "96.00.9F.00.01"]);
    assert!(elsewhere.server.asked().is_empty());
    let refused = Cache::offline(tempfile::tempdir().expect("a folder").path(), Roots::builtin())
        .import(carried.items(), NOW_MS);
    assert!(
        refused.iter().all(|result| matches!(result, Err(Error::Manifest { .. }))),
        "NVIDIA's root did not sign these: {refused:?}"
    );
}

/// Under NVIDIA's own root, at a time at which the signer's certificate holds.
#[test]
fn recorded_manifests_are_kept_as_far_as_nvidia_signed_them() {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("CASEMATE_VECTORS").map_or(default, PathBuf::from).join("nvidia-rim");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", folder.display());
        return;
    }
    let mut kept = 0;
    for folder in std::fs::read_dir(folder).expect("a folder") {
        let folder = folder.expect("a folder").path();
        let text = std::fs::read_to_string(folder.join("vector.json")).expect("a vector");
        let vector: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let document = std::fs::read(folder.join("rim.xml")).expect("a manifest");
        let manifest = Manifest::parse(&document).expect("well formed");
        let now_ms = manifest.signature().certificates[0].not_before_ms() + DAY_MS / 2;
        let place = tempfile::tempdir().expect("a folder");
        let cache = Cache::offline(place.path(), Roots::builtin());
        let results = cache.import(&[Item::NvidiaManifest(document.into())], now_ms);
        let good = vector["expected"]["result"] != "must_fail";
        assert_eq!(results[0].is_ok(), good, "{}: {results:?}", folder.display());
        assert_eq!(cache.entries().len(), usize::from(good));
        kept += usize::from(good);
    }
    assert!(kept > 0);
}
