//! The app's owner: who signs orders, and here also what somebody does who got hold of older ones.

use std::fs;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use casemate_api::agent::{
    AgentRequest, AgentResponse, Command, OWNER_CALL_INFO, OwnerCall, OwnerReply, SecretValue,
};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::sha256,
    seal::{SealingPublicKey, Session, seal_session},
    sign::SigningKey,
};
use casemate_evidence::bundle::Bundle;
use casemate_record::{AppId, BootId, InstanceId, Order, OrderAction, Signed, WorkloadDigest};
use casemate_tests::machine::PASSPHRASE;
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::target::Target;

/// The owner of a target, with key and names at hand.
pub(crate) struct Owner {
    key: SigningKey,
    app_id: AppId,
    instance: InstanceId,
    workload_digest: WorkloadDigest,
}

impl Owner {
    /// Opens the owner's key (`docs/reference/local-state.md`), and takes the names from what `up` said.
    pub(crate) fn of(target: &Target) -> Self {
        let path = target.machine.home().join("keys/owner.toml");
        let stored: toml::Table = fs::read_to_string(path).expect("the owner's key").parse().expect("TOML");
        let bytes = |value: &toml::Value| unhex(value.as_str().expect("digits"));
        let kdf = &stored["kdf"];
        let number = |name: &str| u32::try_from(kdf[name].as_integer().expect("a number")).expect("small");
        let parameters =
            argon2::Params::new(number("memory_kib"), number("passes"), number("lanes"), Some(32))
                .expect("Argon2 parameters");
        let mut wrapping = [0; 32];
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
            .hash_password_into(PASSPHRASE.as_bytes(), &bytes(&kdf["salt"]), &mut wrapping)
            .expect("Argon2 runs");
        let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &wrapping).expect("32 bytes"));
        let nonce = Nonce::try_assume_unique_for_key(&bytes(&stored["nonce"])).expect("12 bytes");
        let mut sealed = bytes(&stored["sealed"]);
        let opened = cipher.open_in_place(nonce, Aad::from(bytes(&stored["public"])), &mut sealed);
        let scalar: [u8; 32] = (&*opened.expect("the passphrase opens it")).try_into().expect("a scalar");
        let named = |name: &str| target.up[name].as_str().expect("`up` says it").to_owned();
        Owner {
            key: SigningKey::from_bytes(&scalar).expect("a key"),
            app_id: named("app_id").parse().expect("an id"),
            instance: named("instance").parse().expect("an id"),
            workload_digest: named("workload_digest").parse().expect("a digest"),
        }
    }

    /// The number of the last order that the command line gave.
    pub(crate) fn last_order(&self, target: &Target) -> u64 {
        let text = fs::read_to_string(target.folder.join(".casemate/app.toml")).expect("the app's file");
        let stored: toml::Table = text.parse().expect("the command line wrote it");
        u64::try_from(stored["last_order"].as_integer().expect("a number")).expect("positive")
    }

    /// Delivers `value` as the secret's version `number` to the boot that runs; what is replied.
    pub(crate) fn delivers(&self, target: &Target, number: u64, value: &str) -> String {
        let values = vec![SecretValue { name: "ATTACK_SECRET".into(), value: value.as_bytes().to_vec() }];
        let (call, session) = self.seal(target, number, &Command::DeliverSecrets { values });
        match from_cbor(&target.host.agent(&target.vm, &call), 1 << 20) {
            Ok(AgentResponse::Sealed { ciphertext }) => format!("{:?}", open(&session, &ciphertext)),
            other => format!("{other:?}"),
        }
    }

    /// An order of this number, signed and sealed to the boot that runs, as the host would carry it.
    pub(crate) fn seal(&self, target: &Target, number: u64, command: &Command) -> (Vec<u8>, Session) {
        let question = AgentRequest::Evidence { nonce: [7; 32].into() };
        let answer = target.host.agent(&target.vm, &to_cbor(&question));
        let Ok(AgentResponse::Evidence { bundle }) = from_cbor(&answer, 1 << 20) else {
            panic!("no evidence")
        };
        let bundle = Bundle::parse(&bundle).expect("a bundle");
        let boot = bundle.session().expect("a session");
        let key = SealingPublicKey::from_slice(&boot.key).expect("a key");
        let bytes = to_cbor(command);
        let order = Order {
            app_id: self.app_id,
            instance: self.instance,
            boot_id: Some(BootId::from(boot.boot_id)),
            workload_digest: self.workload_digest,
            number,
            action: match command {
                Command::DeliverSecrets { .. } => OrderAction::DeliverSecrets,
                Command::Exec { .. } => OrderAction::Exec,
                _ => OrderAction::Status,
            },
            payload_digest: sha256(&bytes),
        };
        let call = OwnerCall { order: Signed::sign(&self.key, &order).to_bytes(), command: bytes };
        let (call, session) =
            seal_session(&mut UnwrapErr(SysRng), &key, OWNER_CALL_INFO, b"", &to_cbor(&call));
        (to_cbor(&AgentRequest::Sealed { call }), session)
    }
}

/// A reply, as the one who sealed the call reads it.
pub(crate) fn open(session: &Session, ciphertext: &[u8]) -> OwnerReply {
    let reply = session.open_response(b"", ciphertext).expect("it answers this call");
    from_cbor(&reply, 1 << 20).expect("a reply")
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("a digit");
    (0..text.len()).step_by(2).map(digit).collect()
}
