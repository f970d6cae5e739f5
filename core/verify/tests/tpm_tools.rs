//! Evidence of other origin than the vectors: a software TPM (`swtpm`, with a certified endorsement key) that
//! quotes and certifies for us, and tpm2-tools' opinion of the same bytes.
//!
//! Needs `swtpm`, `swtpm_setup` and tpm2-tools. Without them these tests say so and pass, except in CI.

mod recorded;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use casemate_crypto::hash::HashAlgorithm;
use casemate_evidence::eventlog::EventLog;
use casemate_evidence::tpm::{
    Attest, KeyUse, Name, PcrValues, Public, Signature, TcgCertificate, qualified_name, read_pcr_file,
};
use casemate_evidence::x509::Certificate;
use casemate_verify::certificates::{Endorsers, PathError};
use casemate_verify::gcp;
use casemate_verify::tpm::{
    AttestationKey, Continuity, GenuineQuote, KeyCertificateError, QuoteError, authenticate_certify,
    authenticate_key_certificate, authenticate_quote, check_clock,
};
use recorded::{BACK_ENDS, for_each_vector, pem_blocks};

/// TPM_RH_ENDORSEMENT (TPM 2.0 Part 2 §7.4): above the endorsement key.
const ENDORSEMENT_HIERARCHY: u32 = 0x4000_000B;

#[test]
fn a_software_tpm_is_genuine_from_its_endorsement_key_to_its_quotes() {
    let Some(tpm) = SoftwareTpm::start() else { return };
    tpm.check_endorsement_certificates();
    let ek = tpm.endorsement_key();
    let mut previous = None;
    for (kind, scheme) in [("rsa", "rsassa"), ("rsa", "rsapss"), ("ecc", "ecdsa"), ("ecc384", "ecdsa")] {
        let key = tpm.attestation_key(kind, scheme);
        let quote = tpm.quote(&key, "sha256:0,7,8,10", "cafe");
        let genuine = quote.authenticate(&key).unwrap_or_else(|error| panic!("{kind} {scheme}: {error}"));
        assert_eq!(genuine.attest().extra_data, [0xCA, 0xFE]);
        assert_eq!(genuine.pcrs().iter().count(), 4);
        let name =
            qualified_name(ENDORSEMENT_HIERARCHY, &[ek], &key.public.name()).expect("an object's name");
        genuine.check_signer(&name).expect("the quote names its key");
        let elsewhere = qualified_name(ENDORSEMENT_HIERARCHY, &[], &key.public.name()).expect("a name");
        assert!(matches!(genuine.check_signer(&elsewhere), Err(QuoteError::QualifiedSigner { .. })));
        // tpm2_checkquote 5.4 takes every RSA signature for RSASSA, and so refuses what RSAPSS made.
        let theirs = tpm.checkquote(&key, &quote, "cafe");
        assert_eq!(theirs, scheme != "rsapss", "{kind} {scheme}: tpm2_checkquote");
        assert!(
            !tpm.checkquote(&key, &quote, "cafd"),
            "{kind} {scheme}: tpm2_checkquote accepts another nonce"
        );
        let clock = genuine.attest().clock;
        if let Some(previous) = previous.replace(clock) {
            assert_eq!(check_clock(&previous, &clock), Ok(Continuity::Unbroken));
        }
        quote.each_byte_counts(&key);
    }
    tpm.check_certification();
}

/// A PCR that changed after the quote, and a value that is another's.
#[test]
fn a_software_tpm_notices_other_pcr_values() {
    let Some(tpm) = SoftwareTpm::start() else { return };
    let key = tpm.attestation_key("ecc", "ecdsa");
    let before = tpm.quote(&key, "sha256:8", "00");
    tpm.run("tpm2_pcrextend", &[&format!("8:sha256={}", "11".repeat(32))]);
    let after = tpm.quote(&key, "sha256:8", "00");
    let mixed = Quote { pcrs: after.pcrs.clone(), ..before.clone() };
    assert!(matches!(mixed.authenticate(&key), Err(QuoteError::PcrDigest { .. })));
    let genuine = after.authenticate(&key).expect("genuine");
    let zero = casemate_crypto::hash::Digest::filled(HashAlgorithm::Sha256, 0);
    assert_eq!(genuine.pcrs().value(HashAlgorithm::Sha256, 8), Some(zero.extend(&[0x11; 32])));
    let none = Quote { pcrs: PcrValues::new(), ..after.clone() };
    let missing = QuoteError::MissingPcr { bank: HashAlgorithm::Sha256, index: 8 };
    assert_eq!(none.authenticate(&key), Err(missing));
}

/// tpm2_eventlog 5.4 replays as we do, but for PCR 0 where the log states a startup locality or has SP800-155
/// events, which it extends although they are EV_NO_ACTION; and it cannot read every log.
#[test]
fn tpm2_eventlog_agrees_on_event_log_vectors() {
    if !installed(&["tpm2_eventlog"]) {
        return;
    }
    let (mut agree, mut differ_in_pcr_0, mut unread) = (0, 0, 0);
    for_each_vector("tcg-eventlog", |vector| {
        let log = EventLog::parse(&vector.file("eventlog.bin")).expect("a log");
        let replay = log.replay().expect("it replays");
        let output =
            limited("tpm2_eventlog", &[vector.folder.join("eventlog.bin").to_str().expect("a path")])
                .output()
                .expect("tpm2_eventlog runs");
        let theirs = eventlog_registers(&String::from_utf8_lossy(&output.stdout));
        let agreement = &vector.fields()["checks"]["tpm2_eventlog_agrees"];
        if theirs.is_empty() {
            assert!(agreement.is_null(), "{}: tpm2_eventlog reads it after all", vector.name);
            // `timeout` ends by the signal that ended the program.
            let crashes = output.status.code().is_none();
            assert_eq!(crashes, vector.name == "attest-option-rom", "{}: {}", vector.name, output.status);
            unread += 1;
            return;
        }
        let differ: Vec<u32> = replay
            .registers
            .iter()
            .filter(|((bank, register), value)| {
                theirs.get(&(bank.name().to_owned(), *register)) != Some(&value.to_string())
            })
            .map(|((_, register), _)| *register)
            .collect();
        assert!(differ.iter().all(|register| *register == 0), "{}: {differ:?}", vector.name);
        assert_eq!(!differ.is_empty(), states_locality(&log) || has_sp800_155(&log), "{}", vector.name);
        assert_eq!(*agreement, differ.is_empty(), "{}: the vector says otherwise", vector.name);
        if differ.is_empty() { agree += 1 } else { differ_in_pcr_0 += 1 }
    });
    println!("{agree} agree, {differ_in_pcr_0} differ in PCR 0, {unread} are not read");
    // The disagreements in docs/reference/disagreements.md are still there.
    assert!(agree == 0 || (differ_in_pcr_0 > 0 && unread > 0), "a disagreement is gone: correct the list");
}

/// A startup locality other than 0, which PCR 0 begins with (TCG PFP §10.4.5.3).
fn states_locality(log: &EventLog) -> bool {
    no_action(log, b"StartupLocality\0").any(|rest| rest.first().is_some_and(|locality| *locality != 0))
}

/// Events that name reference manifests (TCG PFP §10.4.5.2); no register holds them.
fn has_sp800_155(log: &EventLog) -> bool {
    no_action(log, b"SP800-155 Event").next().is_some()
}

/// What follows `signature` in events of type EV_NO_ACTION.
fn no_action<'a>(log: &'a EventLog, signature: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    const NO_ACTION: u32 = 3;
    let of_type = log.events.iter().filter(|event| event.kind.0 == NO_ACTION);
    of_type.filter_map(move |event| event.data.strip_prefix(signature))
}

/// The section `pcrs:` of tpm2_eventlog's YAML.
fn eventlog_registers(text: &str) -> BTreeMap<(String, u32), String> {
    let mut registers = BTreeMap::new();
    let mut bank = None;
    for line in text.lines().skip_while(|line| *line != "pcrs:").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.trim().parse::<u32>(), value.trim().strip_prefix("0x"), &bank) {
            (Ok(register), Some(value), Some(bank)) => {
                registers.insert((String::clone(bank), register), value.to_owned());
            }
            _ => bank = Some(name.trim().to_owned()),
        }
    }
    registers
}

/// A TPM made of software, in a folder of its own, stopped when it is dropped.
struct SoftwareTpm {
    folder: tempfile::TempDir,
    process: Child,
    tcti: String,
}

struct Key {
    context: PathBuf,
    public: Public,
    public_file: PathBuf,
}

#[derive(Clone)]
struct Quote {
    attest: Vec<u8>,
    signature: Vec<u8>,
    pcrs: PcrValues,
    folder: PathBuf,
}

impl SoftwareTpm {
    fn start() -> Option<Self> {
        if !installed(&["swtpm", "swtpm_setup", "tpm2_quote"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a scratch folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
        for name in ["state", "ca"] {
            std::fs::create_dir(folder.path().join(name)).expect("a scratch folder");
        }
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a scratch file");
        };
        write(
            "setup.conf",
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
                 create_certs_tool_options = {}\nactive_pcr_banks = sha1,sha256,sha384\n",
                at("localca.conf"),
                at("localca.options")
            ),
        );
        write(
            "localca.conf",
            format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
                 certserial = {ca}/certserial\n",
                ca = at("ca")
            ),
        );
        write("localca.options", "--platform-manufacturer Casemate\n--platform-model test\n".to_owned());
        let user = limited("id", &["-un"]).output().expect("id runs");
        let user = String::from_utf8(user.stdout).expect("a user's name");
        let (state, conf) = (at("state"), at("setup.conf"));
        succeed(&mut limited(
            "swtpm_setup",
            &[
                "--tpm2",
                "--tpmstate",
                &state,
                "--create-ek-cert",
                "--config",
                &conf,
                "--overwrite",
                "--runas",
                user.trim(),
            ],
        ));
        let (process, tcti) = serve(&state);
        let tpm = Self { folder, process, tcti };
        tpm.wait_until_it_answers();
        Some(tpm)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = limited(program, arguments);
        command.env("TPM2TOOLS_TCTI", &self.tcti).current_dir(self.folder.path());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = succeed(&mut self.command(program, arguments));
        // The software TPM has room for three objects only.
        succeed(&mut self.command("tpm2_flushcontext", &["-t"]));
        output
    }

    fn wait_until_it_answers(&self) {
        for _ in 0..100 {
            let answer = self.command("tpm2_getcap", &["properties-fixed"]).output();
            if answer.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("swtpm does not answer");
    }

    /// The certificates that the TPM carries, up to the root that signed for its maker.
    fn check_endorsement_certificates(&self) {
        let read = |name: &str| std::fs::read_to_string(self.path("ca").join(name)).expect("a certificate");
        let [issuer, root] = ["issuercert.pem", "swtpm-localca-rootca-cert.pem"]
            .map(|name| Certificate::parse(&pem_blocks(&read(name))[0]).expect("a certificate"));
        let roots = [root.public_key_digest()];
        let certificates = [issuer, root];
        let endorsers = Endorsers { certificates: &certificates, revocation_lists: &[] };
        for index in ["0x1c00002", "0x1c00016"] {
            self.run("tpm2_nvread", &[index, "-o", "ek.der"]);
            let bytes = std::fs::read(self.path("ek.der")).expect("a certificate");
            let certificate = TcgCertificate::parse(&bytes).expect("an endorsement key's certificate");
            let identity = certificate.identity.clone().expect("it names its TPM");
            assert_eq!(
                (identity.manufacturer_name().as_str(), identity.model.as_str()),
                ("00001014", "swtpm")
            );
            let now_ms = certificate.certificate.not_before_ms();
            for provider in BACK_ENDS {
                let judge = |use_, roots: &[_]| {
                    authenticate_key_certificate(&certificate, use_, &endorsers, roots, now_ms, provider)
                };
                judge(KeyUse::Endorsement, &roots).expect("genuine");
                let used = judge(KeyUse::Attestation, &roots);
                assert!(matches!(used, Err(KeyCertificateError::Use { .. })), "{used:?}");
                let elsewhere = judge(KeyUse::Endorsement, &gcp::ROOTS);
                let untrusted = matches!(
                    elsewhere,
                    Err(KeyCertificateError::Path(
                        PathError::UntrustedRoot { .. } | PathError::MissingIssuer { .. }
                    ))
                );
                assert!(untrusted, "{elsewhere:?}");
            }
        }
    }

    /// Name of the endorsement key below which attestation keys are made.
    fn endorsement_key(&self) -> Name {
        self.run("tpm2_createek", &["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub"]);
        let public = std::fs::read(self.path("ek.pub")).expect("a public area");
        Public::parse_sized(&public).expect("the endorsement key").name()
    }

    fn attestation_key(&self, kind: &str, scheme: &str) -> Key {
        if !self.path("ek.ctx").exists() {
            self.endorsement_key();
        }
        let (context, public_file) =
            (self.path(&format!("{kind}-{scheme}.ctx")), self.path(&format!("{kind}-{scheme}.pub")));
        let (context_text, public_text) = (text(&context), text(&public_file));
        self.run(
            "tpm2_createak",
            &[
                "-C",
                "ek.ctx",
                "-c",
                context_text,
                "-G",
                kind,
                "-g",
                "sha256",
                "-s",
                scheme,
                "-u",
                public_text,
            ],
        );
        let public = std::fs::read(&public_file).expect("a public area");
        let public = Public::parse_sized(&public).expect("an attestation key");
        Key { context, public, public_file }
    }

    fn quote(&self, key: &Key, selection: &str, nonce: &str) -> Quote {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a scratch folder").keep();
        let scheme = match key.public.scheme {
            Some(casemate_evidence::tpm::Scheme::RsaPss(_)) => "rsapss",
            Some(casemate_evidence::tpm::Scheme::RsaSsa(_)) => "rsassa",
            _ => "ecdsa",
        };
        let files = ["quote.msg", "quote.sig", "pcrs.out"].map(|name| folder.join(name));
        let [message, signature, pcrs] = [0, 1, 2].map(|index: usize| text(&files[index]));
        self.run(
            "tpm2_quote",
            &[
                "-c",
                text(&key.context),
                "-l",
                selection,
                "-q",
                nonce,
                "-m",
                message,
                "-s",
                signature,
                "-o",
                pcrs,
                "-g",
                "sha256",
                "--scheme",
                scheme,
            ],
        );
        let read = |path: &PathBuf| std::fs::read(path).expect("what tpm2_quote wrote");
        Quote {
            attest: read(&files[0]),
            signature: read(&files[1]),
            pcrs: read_pcr_file(&read(&files[2])).expect("PCR values"),
            folder,
        }
    }

    /// What tpm2-tools say of a quote, with its PCR values and a nonce.
    fn checkquote(&self, key: &Key, quote: &Quote, nonce: &str) -> bool {
        let file = |name: &str| quote.folder.join(name);
        let (message, signature, pcrs) = (file("quote.msg"), file("quote.sig"), file("pcrs.out"));
        let arguments = [
            "-u",
            text(&key.public_file),
            "-m",
            text(&message),
            "-s",
            text(&signature),
            "-f",
            text(&pcrs),
            "-q",
            nonce,
        ];
        self.command("tpm2_checkquote", &arguments).output().expect("it runs").status.success()
    }

    /// One attestation key certifies another of the same TPM, and no key that is none.
    fn check_certification(&self) {
        let key = self.attestation_key("rsa", "rsassa");
        let other = self.attestation_key("ecc", "ecdsa");
        let files = ["certify.msg", "certify.sig"].map(|name| self.path(name));
        let certify = |subject: &Path| {
            self.run(
                "tpm2_certify",
                &[
                    "-c",
                    text(subject),
                    "-C",
                    text(&key.context),
                    "-g",
                    "sha256",
                    "-o",
                    text(&files[0]),
                    "-s",
                    text(&files[1]),
                ],
            );
            let read = |path: &PathBuf| std::fs::read(path).expect("what tpm2_certify wrote");
            let bytes = read(&files[0]);
            let attest = Attest::parse_sized(&bytes).or_else(|_| Attest::parse(&bytes)).expect("a statement");
            (attest, Signature::parse(&read(&files[1])).expect("a signature"))
        };
        let voucher = AttestationKey::enrolled(&key.public).expect("an attestation key");
        let (attest, signature) = certify(&other.context);
        for provider in BACK_ENDS {
            let certified = authenticate_certify(&attest, &signature, &voucher, &other.public, provider)
                .expect("genuine");
            let quote = self.quote(&other, "sha384:1", "01");
            quote.authenticate_by(&certified).expect("a certified key quotes");
            let swapped = authenticate_certify(&attest, &signature, &voucher, &key.public, provider);
            assert!(matches!(swapped, Err(casemate_verify::tpm::CertifyError::Object { .. })), "{swapped:?}");
        }
        let ek = std::fs::read(self.path("ek.pub")).expect("a public area");
        let ek = Public::parse_sized(&ek).expect("the endorsement key");
        assert!(AttestationKey::enrolled(&ek).is_err(), "an endorsement key decrypts, it does not attest");
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Quote {
    fn authenticate(&self, key: &Key) -> Result<GenuineQuote, QuoteError> {
        self.authenticate_by(&AttestationKey::enrolled(&key.public).expect("an attestation key"))
    }

    /// Both libraries give the same answer.
    fn authenticate_by(&self, key: &AttestationKey) -> Result<GenuineQuote, QuoteError> {
        let answers = BACK_ENDS.map(|provider| {
            let attest = Attest::parse(&self.attest).expect("a statement");
            let signature = Signature::parse(&self.signature).expect("a signature");
            authenticate_quote(attest, &signature, key, &self.pcrs, provider)
        });
        assert_eq!(answers[0], answers[1]);
        let [answer, _] = answers;
        answer
    }

    /// Every byte of the statement is signed.
    fn each_byte_counts(&self, key: &Key) {
        let key = AttestationKey::enrolled(&key.public).expect("an attestation key");
        let signature = Signature::parse(&self.signature).expect("a signature");
        for index in 0..self.attest.len() {
            let mut changed = self.attest.clone();
            changed[index] ^= 1;
            let Ok(attest) = Attest::parse(&changed) else { continue };
            let answer = authenticate_quote(attest, &signature, &key, &self.pcrs, BACK_ENDS[0]);
            assert!(matches!(answer, Err(QuoteError::Signature(_))), "byte {index}: {answer:?}");
        }
    }
}

/// Starts the TPM on two free ports, one after the other, as tpm2-tools expect them.
fn serve(state: &str) -> (Child, String) {
    for _ in 0..50 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("an address").port();
        let Some(next) = port.checked_add(1) else { continue };
        if TcpListener::bind(("127.0.0.1", next)).is_err() {
            continue;
        }
        drop(first);
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={state}")])
            .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1")])
            .args(["--ctrl", &format!("type=tcp,port={next},bindaddr=127.0.0.1")])
            .args(["--flags", "not-need-init,startup-clear"])
            .spawn()
            .expect("swtpm starts");
        return (process, format!("swtpm:host=127.0.0.1,port={port}"));
    }
    panic!("no two free ports in a row");
}

/// Whether the programs are here; without them the tests say so and pass, except in CI.
fn installed(programs: &[&str]) -> bool {
    let is_here = |program: &&str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    let missing: Vec<_> = programs.iter().filter(|program| !is_here(program)).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{missing:?} are missing; CI needs them");
    eprintln!("NOT RUN: {missing:?} are missing");
    false
}

fn limited(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).args(arguments);
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
