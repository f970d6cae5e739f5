//! Both back ends give the same answer, for good signatures and for each way to spoil one.
#![cfg(feature = "aws-lc")]

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair,
};
use casemate_crypto::hash::HashAlgorithm;
use casemate_crypto::sign::{Error, PublicKey, Signature, SigningKey};
use casemate_crypto::{AwsLc, Curve, P384PublicKey, P384Signature, Provider, PssSalt, RustCrypto};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
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

/// Modulus and exponent of a new key with 2048 bits.
fn rsa_numbers(pair: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let public = pair.public_key().as_ref();
    (public[9..265].to_vec(), public[267..].to_vec())
}

#[test]
fn rsa_answers_agree_for_each_padding_and_hash_function() {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (modulus, exponent) = rsa_numbers(&pair);
    for (hash, pkcs1, pss) in [
        (HashAlgorithm::Sha256, &RSA_PKCS1_SHA256, &RSA_PSS_SHA256),
        (HashAlgorithm::Sha384, &RSA_PKCS1_SHA384, &RSA_PSS_SHA384),
        (HashAlgorithm::Sha512, &RSA_PKCS1_SHA512, &RSA_PSS_SHA512),
    ] {
        let (mut with_pkcs1, mut with_pss) = (vec![0; 256], vec![0; 256]);
        pair.sign(pkcs1, &random, b"message", &mut with_pkcs1).unwrap();
        pair.sign(pss, &random, b"message", &mut with_pss).unwrap();
        for provider in BACK_ENDS {
            for named in HashAlgorithm::ALL {
                let context = format!("{} signed with {hash}, said to be {named}", provider.name());
                let expected = if named == hash { Ok(()) } else { Err(Error::BadSignature) };
                let pkcs1 = |modulus: &[u8], message: &[u8], signature: &[u8]| {
                    provider.verify_rsa_pkcs1(named, modulus, &exponent, message, signature)
                };
                let pss = |salt, message: &[u8], signature: &[u8]| {
                    provider.verify_rsa_pss(named, salt, &modulus, &exponent, message, signature)
                };
                assert_eq!(pkcs1(&modulus, b"message", &with_pkcs1), expected, "{context}");
                assert_eq!(pkcs1(&modulus, b"messagE", &with_pkcs1), Err(Error::BadSignature), "{context}");
                assert_eq!(pkcs1(&modulus, b"message", &with_pss), Err(Error::BadSignature), "{context}");
                assert_eq!(pkcs1(&modulus, b"message", &[]), Err(Error::BadSignature), "{context}");
                assert_eq!(pkcs1(&[0xFF; 255], b"message", &with_pkcs1), Err(Error::NotAKey), "{context}");
                for salt in [PssSalt::DigestLength, PssSalt::AsSigned] {
                    assert_eq!(pss(salt, b"message", &with_pss), expected, "{context} {salt:?}");
                    assert_eq!(pss(salt, b"messagE", &with_pss), Err(Error::BadSignature), "{context}");
                    assert_eq!(pss(salt, b"message", &with_pkcs1), Err(Error::BadSignature), "{context}");
                }
            }
        }
    }
}

#[test]
fn ecdsa_answers_agree_for_each_curve_and_hash_function() {
    let p256 = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let p384 = p384::ecdsa::SigningKey::from_slice(&[5; 48]).unwrap();
    let p256_point = p256.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
    let p384_point = p384.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        // Many messages, so that r and s begin with zeros and with ones now and then.
        for number in 0..64_u8 {
            let message = [number; 9];
            let digest = hash.digest(&message);
            let with_p256: p256::ecdsa::Signature = p256.sign_prehash(digest.as_bytes()).unwrap();
            let with_p384: p384::ecdsa::Signature = p384.sign_prehash(digest.as_bytes()).unwrap();
            for (curve, key, good) in [
                (Curve::P256, &p256_point, with_p256.to_bytes().to_vec()),
                (Curve::P384, &p384_point, with_p384.to_bytes().to_vec()),
            ] {
                for provider in BACK_ENDS {
                    let verify = |hash, key: &[u8], message: &[u8], signature: &[u8]| {
                        provider.verify_ecdsa(curve, hash, key, message, signature)
                    };
                    let context = format!("{} {curve:?} {hash} {number}", provider.name());
                    assert_eq!(verify(hash, key, &message, &good), Ok(()), "{context}");
                    if number > 0 {
                        continue;
                    }
                    let bad = Err(Error::BadSignature);
                    assert_eq!(verify(hash, key, b"other", &good), bad, "{context}");
                    assert_eq!(verify(HashAlgorithm::Sha1, key, &message, &good), bad, "{context}");
                    assert_eq!(verify(hash, key, &message, &good[1..]), bad, "{context}");
                    assert_eq!(verify(hash, key, &message, &vec![0; good.len()]), bad, "{context}");
                    assert_eq!(verify(hash, key, &message, &vec![0xFF; good.len()]), bad, "{context}");
                    assert_eq!(verify(hash, &key[1..], &message, &good), Err(Error::NotAKey), "{context}");
                    assert_eq!(verify(hash, &vec![3; key.len()], &message, &good), Err(Error::NotAKey));
                }
            }
        }
    }
}

/// `openssl dgst -sha1 -sign`, and `-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:max`, over
/// `message` with one key: what no back end here makes.
#[test]
fn signatures_by_openssl_verify() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let (modulus, exponent) = (bytes(OPENSSL_MODULUS), [1, 0, 1]);
    for provider in BACK_ENDS {
        let pkcs1 = |hash, message: &[u8]| {
            provider.verify_rsa_pkcs1(hash, &modulus, &exponent, message, &bytes(OPENSSL_PKCS1_SHA1))
        };
        let pss = |salt, message: &[u8]| {
            let signature = bytes(OPENSSL_PSS_SHA256_LONGEST_SALT);
            provider.verify_rsa_pss(HashAlgorithm::Sha256, salt, &modulus, &exponent, message, &signature)
        };
        assert_eq!(pkcs1(HashAlgorithm::Sha1, b"message"), Ok(()), "{}", provider.name());
        assert_eq!(pkcs1(HashAlgorithm::Sha1, b"messagE"), Err(Error::BadSignature));
        assert_eq!(pkcs1(HashAlgorithm::Sha256, b"message"), Err(Error::BadSignature));
        assert_eq!(pss(PssSalt::AsSigned, b"message"), Ok(()), "{}", provider.name());
        assert_eq!(pss(PssSalt::AsSigned, b"messagE"), Err(Error::BadSignature));
        assert_eq!(pss(PssSalt::DigestLength, b"message"), Err(Error::BadSignature));
    }
}

const OPENSSL_MODULUS: &str = "b865145362074197294ef9a492aabd27d1f7c835f259786ca6ef83b9e29e292343c2f9a72af10d45aaee3416c928b1e2\
     702168cf30f55b3b181769ea8f248af325e725c3bf4ec56970e85a278ee85dd3c3f9fccbb5a442b64d47bbf7a071ef95\
     13e720efad0fa83a05657fbf554693c09bd77f3dfbe3a609330c3e00b413667d9de17f094397215c3a62753a636bd095\
     93f3e3560913be4c14e55298c8c7384f97973d571450b8e75fcfc219c8dff016f30b68cbf086eaa022e3396fa6dbd82c\
     09880121f76047890f882bd04add7ca7c0c5f3c9b79752739b36431430eb4601417e058c17508571b1c1c38facccaf18\
     945dee51b61f8e056a55aa63c70dfa4f";
const OPENSSL_PKCS1_SHA1: &str = "4a03637e10e77aa39d01c1d40cb418fa0828104b38282d6dd26ee96fd88763ad0a8c3f3c851f5cab3e949926da30f631\
     6668d94313eae38aaf0939ba12c873ff49c9a58af699555757ce1fe91070cdbb9e91ef8e446cb8edf607d1582baff430\
     857b61eb213a54736d1bf0b4a13506182454b8ac8aff0371ee81a1120d2d77f10bdf216bcefe54ca496233ec8c49f9fd\
     434a0f6996caa4973e5a392f6bf2fd3962dd7bc97f8112063e038647efc9cb936e7d29625f2edffdcf078bccd8e06e1d\
     935f14a13e70a32e10a08510a7cd83069b3359497fd54b3357e1c3f79fa764675f4e3e2095fc9cc42773a8db01f9fdb3\
     6adec82679be02c79b3b591b832d9888";
const OPENSSL_PSS_SHA256_LONGEST_SALT: &str = "b6f464fb32c15b14bae67cb8a924364535bc96e74be1562fcbbf09c920dfac5847b5b9e88db665cd0a752a2c3b69c789\
     a02373bbc18702c2fa9d2d7b5a18e86c59e72d40324de27cc3f1e3ea179f73a5076901a162f966d97152d11ab7c9c539\
     4587beaac800825007d6a1c33e53c2cfdbf9ad74a333b2395ab4eb364ea98b69334089af79e426c2ae9e2fa81e2ba4f9\
     36f9b9eb028d3d44341d2b9a2b00045c916ebb6830d99cb34a96b303b5f79956fb6283ee360ee18d9ba874182d8f5374\
     19f0b41612bb0b26baffedfae0ad70417138f9adc39a94cb386dd1e16996f0186aee671d096891f05638d3f99c440b4b\
     17b483549b72fa4d00bbbc7b26e4e9ae";
