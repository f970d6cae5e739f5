//! Both back ends give the same answer, for good signatures and for each way to spoil one.
#![cfg(feature = "aws-lc")]

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaKeyPair};
use casemate_crypto::sign::{Error, PublicKey, Signature, SigningKey};
use casemate_crypto::{AwsLc, P384PublicKey, P384Signature, Provider, RustCrypto};
use p384::ecdsa::signature::Signer as _;

const BACK_ENDS: [&dyn Provider; 2] = [&AwsLc, &RustCrypto];

#[test]
fn p256_answers_agree() {
    let key = SigningKey::from_bytes(&[9; 32]).unwrap();
    let good = key.sign(b"message");
    let flipped = |index: usize| {
        let mut bytes = *good.as_bytes();
        bytes[index] ^= 1;
        Signature::from(bytes)
    };
    for provider in BACK_ENDS {
        let verify = |key: &PublicKey, message: &[u8], signature: &Signature| {
            provider.verify_p256(key, message, signature)
        };
        assert_eq!(verify(&key.public(), b"message", &good), Ok(()), "{}", provider.name());
        assert_eq!(verify(&key.public(), b"messagE", &good), Err(Error::BadSignature));
        assert_eq!(verify(&key.public(), b"message", &flipped(0)), Err(Error::BadSignature));
        assert_eq!(verify(&key.public(), b"message", &flipped(63)), Err(Error::BadSignature));
        assert_eq!(verify(&key.public(), b"message", &Signature::from([0; 64])), Err(Error::BadSignature));
        assert_eq!(verify(&key.public(), b"message", &Signature::from([255; 64])), Err(Error::BadSignature));
        assert_eq!(verify(&PublicKey::from([0; 64]), b"message", &good), Err(Error::NotAKey));
        assert_eq!(provider.sign_p256(&key, b"message"), good);
    }
}

#[test]
fn p384_answers_agree() {
    let signer = p384::ecdsa::SigningKey::from_slice(&[5; 48]).unwrap();
    let point = signer.verifying_key().to_sec1_point(false);
    let key = P384PublicKey::try_from(&point.as_bytes()[1..]).unwrap();
    let signature: p384::ecdsa::Signature = signer.sign(b"message");
    let good = P384Signature::from(<[u8; 96]>::from(signature.to_bytes()));
    let spoiled = |index: usize| {
        let mut bytes = *good.as_bytes();
        bytes[index] ^= 1;
        P384Signature::from(bytes)
    };
    let zero_r = {
        let mut bytes = *good.as_bytes();
        bytes[..48].fill(0);
        P384Signature::from(bytes)
    };
    for provider in BACK_ENDS {
        assert_eq!(provider.verify_p384(&key, b"message", &good), Ok(()), "{}", provider.name());
        assert_eq!(provider.verify_p384(&key, b"messagE", &good), Err(Error::BadSignature));
        for bad in [spoiled(0), spoiled(47), spoiled(48), spoiled(95), zero_r, P384Signature::from([255; 96])]
        {
            assert_eq!(provider.verify_p384(&key, b"message", &bad), Err(Error::BadSignature));
        }
        let off_curve = P384PublicKey::from([3; 96]);
        assert_eq!(provider.verify_p384(&off_curve, b"message", &good), Err(Error::NotAKey));
        let prepared = provider.prepare_p384(&key).unwrap();
        assert_eq!(prepared.verify(b"message", &good), Ok(()));
        assert_eq!(prepared.verify(b"", &good), Err(Error::BadSignature));
    }
}

#[test]
fn rsa_pss_answers_agree() {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey (RFC 8017 A.1.1) of 2048 bits: two headers of 4 bytes, a zero, the modulus, then
    // the exponent behind 2 bytes of header.
    let public = pair.public_key().as_ref();
    let (modulus, exponent) = (public[9..265].to_vec(), public[267..].to_vec());
    let mut good = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA384, &random, b"message", &mut good).unwrap();
    let mut with_sha256 = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &random, b"message", &mut with_sha256).unwrap();
    let mut spoiled = good.clone();
    spoiled[100] ^= 1;
    let even: Vec<u8> = modulus.iter().copied().take(255).chain([modulus[255] & 0xfe]).collect();

    for provider in BACK_ENDS {
        let verify = |modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]| {
            provider.verify_rsa_pss_sha384(modulus, exponent, message, signature)
        };
        assert_eq!(verify(&modulus, &exponent, b"message", &good), Ok(()), "{}", provider.name());
        assert_eq!(verify(&modulus, &exponent, b"messagE", &good), Err(Error::BadSignature));
        assert_eq!(verify(&modulus, &exponent, b"message", &spoiled), Err(Error::BadSignature));
        assert_eq!(verify(&modulus, &exponent, b"message", &with_sha256), Err(Error::BadSignature));
        assert_eq!(verify(&modulus, &exponent, b"message", &good[1..]), Err(Error::BadSignature));
        assert_eq!(verify(&modulus, &exponent, b"message", &[]), Err(Error::BadSignature));
        assert_eq!(verify(&modulus, &[3], b"message", &good), Err(Error::NotAKey));
        assert_eq!(verify(&modulus[1..], &exponent, b"message", &good), Err(Error::NotAKey));
        assert_eq!(verify(&even, &exponent, b"message", &good), Err(Error::NotAKey));
        assert_eq!(verify(&[], &exponent, b"message", &good), Err(Error::NotAKey));
    }
}
