//! Sealing and opening one token: key derivation, commitment, AES-256-GCM.
//!
//! The only file with cryptography of tokens in it. `docs/FORMAT.md` says the same in prose.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AesGcm, KeyInit};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::associated_data::{MAX_CONTEXT, associated_data, context};
use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::padding::{pad, padded_len};
use crate::record::token::{COMMITMENT, KeyId, NONCE, OVERHEAD, SALT, Stack, TAG, Token};
use crate::record::version::Version;

/// AES-256-GCM that also opens: GCM only ever encrypts blocks, so no decryption schedule is needed.
type Aes256Gcm = AesGcm<Aes256Enc, aes_gcm::aes::cipher::consts::U12>;

/// A root key, prepared: the HMAC state of HKDF-Expand.
///
/// The root key is uniform, so Extract is skipped (RFC 5869, section 3.3).
#[derive(Clone)]
pub(crate) struct RootSecret(Hkdf<Sha256>);

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(…)")
    }
}

impl RootSecret {
    pub(crate) fn new(material: &[u8; 32]) -> Self {
        Self(Hkdf::from_prk(material).expect("32 bytes are the hash length"))
    }

    /// 32 or 64 bytes for one purpose.
    pub(crate) fn derive<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        let mut output = Zeroizing::new([0; N]);
        self.0.expand_multi_info(info, output.as_mut()).expect("far below 255 blocks");
        output
    }
}

/// The key of one token and the commitment to it.
fn token_keys(root: &RootSecret, mut context: Stack<MAX_CONTEXT>, salt: &[u8; SALT]) -> Zeroizing<[u8; 64]> {
    context.push(salt);
    root.derive(&[&context])
}

/// Encrypts `buffer` in place and returns the tag.
fn encrypt(key: &[u8], nonce: &[u8; NONCE], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
    let cipher = Aes256Gcm::new_from_slice(key).expect("32 bytes");
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer));
    tag.expect("a field is far below 64 GiB").into()
}

/// Decrypts `buffer` in place; leaves it as it was when the tag does not match.
fn decrypt(key: &[u8], nonce: &[u8; NONCE], aad: &[u8], buffer: &mut [u8], tag: &[u8; TAG]) -> Result<()> {
    let cipher = Aes256Gcm::new_from_slice(key).expect("32 bytes");
    let opened = cipher.decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer), tag.into());
    opened.map_err(|_| ErrorKind::Unsealable.into())
}

/// Seals the JSON text of one field.
///
/// Every token gets a fresh salt, and so a key of its own: the limit of 2^32 messages for random
/// nonces under one key (NIST SP 800-38D, section 8.3) is never near.
pub(crate) fn seal(
    root: &RootSecret,
    key: KeyId,
    version: Version,
    owner: &Owner,
    field: Field,
    json: &[u8],
    rng: &mut impl CryptoRng,
) -> Token {
    let mut random = [0; SALT + NONCE];
    rng.fill_bytes(&mut random);
    let (salt, nonce) = random.split_first_chunk::<SALT>().expect("longer than a salt");
    let nonce = nonce.try_into().expect("what is left is a nonce");
    seal_with(root, key, version, owner, field, json, salt, nonce)
}

/// The seal itself, which no randomness but salt and nonce goes into.
#[expect(clippy::too_many_arguments, reason = "all that a token is bound to")]
fn seal_with(
    root: &RootSecret,
    key: KeyId,
    version: Version,
    owner: &Owner,
    field: Field,
    json: &[u8],
    salt: &[u8; SALT],
    nonce: &[u8; NONCE],
) -> Token {
    let keys = token_keys(root, context(key, version, owner, field), salt);
    let (aes_key, commitment) = keys.split_at(32);

    let mut body = Vec::with_capacity(OVERHEAD + padded_len(json.len()));
    body.extend_from_slice(salt);
    body.extend_from_slice(commitment);
    body.extend_from_slice(nonce);
    body.extend_from_slice(json); // the capacity is there: no copy of the plaintext stays behind
    pad(&mut body, SALT + COMMITMENT + NONCE);
    let aad = associated_data(key, version, field);
    let tag = encrypt(aes_key, nonce, &aad, &mut body[SALT + COMMITMENT + NONCE..]);
    body.extend_from_slice(&tag);
    Token { key, version, field, body }
}

/// Opens one token: the padded JSON text of its field.
///
/// # Errors
/// `Unsealable`, whatever the reason: another key, owner, field or version, or an altered body.
pub(crate) fn open(root: &RootSecret, owner: &Owner, token: &Token) -> Result<Zeroizing<Vec<u8>>> {
    let split = split_body(&token.body);
    let (salt, commitment, nonce, ciphertext, tag) = split.ok_or(ErrorKind::Unsealable)?;
    let keys = token_keys(root, context(token.key, token.version, owner, token.field), salt);
    let (aes_key, expected) = keys.split_at(32);
    if !bool::from(expected.ct_eq(commitment)) {
        return Err(Error::from(ErrorKind::Unsealable));
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let aad = associated_data(token.key, token.version, token.field);
    decrypt(aes_key, nonce, &aad, &mut buffer, tag)?;
    Ok(buffer)
}

type Body<'a> = (&'a [u8; SALT], &'a [u8; COMMITMENT], &'a [u8; NONCE], &'a [u8], &'a [u8; TAG]);

fn split_body(body: &[u8]) -> Option<Body<'_>> {
    let (salt, rest) = body.split_first_chunk()?;
    let (commitment, rest) = rest.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    Some((salt, commitment, nonce, ciphertext, tag))
}

/// AES-256-GCM for the keyring file, by the same two functions as tokens.
pub(crate) fn encrypt_file(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    header: &[u8],
    mut content: Vec<u8>,
) -> Vec<u8> {
    content.reserve_exact(TAG);
    let tag = encrypt(key, nonce, header, &mut content);
    content.extend_from_slice(&tag);
    content
}

/// The inverse of [`encrypt_file`].
///
/// # Errors
/// `Unsealable` when key, header or content are not the ones it was made with.
pub(crate) fn decrypt_file(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    header: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(ErrorKind::Unsealable)?;
    let mut content = Zeroizing::new(ciphertext.to_vec());
    decrypt(key, nonce, header, &mut content, tag)?;
    Ok(content)
}

#[cfg(test)]
#[path = "aead_tests.rs"]
mod tests;
