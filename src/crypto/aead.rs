//! Sealing and opening the tokens of a record: key derivation, commitment, AES-256-GCM.
//!
//! The only file with cryptography of tokens in it. `docs/FORMAT.md` says the same in prose.

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AesGcm, KeyInit};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{ErrorKind, Result};
use crate::record::field::Field;
use crate::record::owner::{Owner, TenantId};
use crate::record::padding::{pad, padded_len};
use crate::record::token::{
    COMMITMENT, KeyId, MAX_HEAD, NONCE, OVERHEAD, SALT, Stack, TAG, Token, head_of_record, push_field,
};
use crate::record::version::Version;

/// AES-256-GCM that also opens: GCM only ever encrypts blocks, so no decryption schedule is needed.
type Aes256Gcm = AesGcm<Aes256Enc, aes_gcm::aes::cipher::consts::U12>;

/// A root key, prepared: the HMAC state of HKDF-Expand.
///
/// The root key is uniform, so Extract is skipped (RFC 5869, section 3.3).
/// Clones share it, and what is moved is a pointer, which leaves no copy behind.
#[derive(Clone)]
pub(crate) struct RootSecret(Arc<Hkdf<Sha256>>);

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(…)")
    }
}

impl RootSecret {
    pub(crate) fn new(material: &[u8; 32]) -> Self {
        Self(Arc::new(Hkdf::from_prk(material).expect("32 bytes are the hash length")))
    }

    /// 32 or 64 bytes for one purpose.
    pub(crate) fn derive<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        let mut output = Zeroizing::new([0; N]);
        self.0.expand_multi_info(info, output.as_mut()).expect("far below 255 blocks");
        output
    }
}

/// The owner of credentials, and their kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) owner: &'a Owner,
}

/// The length of salt and commitment.
const START: usize = SALT + COMMITMENT;
const LABEL: &[u8] = b"retell-vault/v1";
/// Seven lengths, the label, a namespace, key id, version, two ids of at most 255 bytes and their flags: 595 bytes at most.
const MAX_CONTEXT: usize = 640;

/// What the key of a record is derived for. Two different purposes never have the same bytes: there are always
/// seven parts, each with its length in front, and an absent tenant differs from every present one.
fn context(key: KeyId, version: Version, scope: Scope<'_>) -> Stack<MAX_CONTEXT> {
    let mut bytes = Stack::new();
    push_part(&mut bytes, &[], LABEL);
    push_part(&mut bytes, &[], scope.namespace.as_bytes());
    push_part(&mut bytes, &[], &key.0.to_be_bytes());
    push_part(&mut bytes, &[], &version.to_bytes());
    push_optional(&mut bytes, scope.owner.tenant_id().map(TenantId::as_str));
    push_part(&mut bytes, &[], scope.owner.user_id().as_str().as_bytes());
    // reserved: which of an owner's several records
    push_optional(&mut bytes, None);
    bytes
}

fn push_optional(bytes: &mut Stack<MAX_CONTEXT>, part: Option<&str>) {
    match part {
        Some(part) => push_part(bytes, &[1], part.as_bytes()),
        None => push_part(bytes, &[0], &[]),
    }
}

#[inline(always)]
fn push_part(bytes: &mut Stack<MAX_CONTEXT>, flag: &[u8], text: &[u8]) {
    let length = u16::try_from(flag.len() + text.len()).expect("ids are at most 255 bytes");
    bytes.push(&length.to_be_bytes());
    bytes.push(flag);
    bytes.push(text);
}

/// The key that the tokens of one sealing share, and the commitment to it.
///
/// Every token has its own nonce, and few are ever sealed under one key: a record has at most 64 fields, some of
/// which may be sealed once more for another place. So the limit of 2^32 random nonces (NIST SP 800-38D, section 8.3)
/// is never near.
pub(crate) struct RecordKey {
    key: KeyId,
    version: Version,
    /// What the bodies of its tokens begin with: the salt, and the commitment to the key.
    start: [u8; START],
    /// The associated data of its tokens before the field.
    head: Stack<MAX_HEAD>,
    cipher: Aes256Gcm,
}

impl RecordKey {
    /// The key of a record that is sealed now.
    pub(crate) fn fresh(
        root: &RootSecret,
        key: KeyId,
        version: Version,
        scope: Scope<'_>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        Self::derive(root, key, version, scope, &salt)
    }

    /// The key that a token was sealed under.
    ///
    /// # Errors
    /// `Unsealable` for a token that is not committed to it: it was sealed under another key, or for another scope.
    pub(crate) fn of(root: &RootSecret, scope: Scope<'_>, token: &Token) -> Result<Self> {
        let (salt, rest) = token.body.split_first_chunk().ok_or(ErrorKind::Unsealable)?;
        let commitment = rest.first_chunk::<COMMITMENT>().ok_or(ErrorKind::Unsealable)?;
        let key = Self::derive(root, token.key, token.version, scope, salt);
        match key.start[SALT..].ct_eq(commitment).into() {
            true => Ok(key),
            false => Err(ErrorKind::Unsealable.into()),
        }
    }

    fn derive(root: &RootSecret, key: KeyId, version: Version, scope: Scope<'_>, salt: &[u8; SALT]) -> Self {
        let mut info = context(key, version, scope);
        info.push(salt);
        let keys: Zeroizing<[u8; 64]> = root.derive(&[&info]);
        let (aes_key, commitment) = keys.split_at(32);
        let mut start = [0; START];
        start[..SALT].copy_from_slice(salt);
        start[SALT..].copy_from_slice(commitment);
        Self {
            key,
            version,
            start,
            head: head_of_record(key, version),
            cipher: Aes256Gcm::new_from_slice(aes_key).expect("32 bytes"),
        }
    }

    /// Whether a token says that it was sealed under this key, and is committed to it. The time that this takes reveals
    /// nothing: the salt and commitment are in tokens that were seen before.
    pub(crate) fn is_of(&self, token: &Token) -> bool {
        (self.key, self.version) == (token.key, token.version) && token.body.starts_with(&self.start)
    }

    /// The associated data of a token (AAD): its text before the body, which names suite, key, version and field.
    fn associated_data(&self, field: Field) -> Stack<MAX_HEAD> {
        let mut head = self.head.clone();
        push_field(&mut head, field);
        head
    }

    /// Seals the JSON text of one field.
    pub(crate) fn seal(&self, field: Field, json: &[u8], rng: &mut impl CryptoRng) -> Token {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        self.seal_with(field, json, &nonce)
    }

    /// The seal itself, whose only randomness is the salt and the nonce.
    fn seal_with(&self, field: Field, json: &[u8], nonce: &[u8; NONCE]) -> Token {
        let mut body = Vec::with_capacity(OVERHEAD + padded_len(json.len()));
        body.extend_from_slice(&self.start);
        body.extend_from_slice(nonce);
        body.extend_from_slice(json); // the capacity is there: no copy of the plaintext stays behind
        pad(&mut body, START + NONCE);
        let aad = self.associated_data(field);
        let tag = encrypt(&self.cipher, nonce, &aad, &mut body[START + NONCE..]);
        body.extend_from_slice(&tag);
        Token { key: self.key, version: self.version, field, body }
    }

    /// Opens one token that was sealed under this key: the padded JSON text of its field.
    ///
    /// # Errors
    /// `Unsealable`, whatever the reason: another key, owner, field or version, or an altered body.
    pub(crate) fn open(&self, token: &Token) -> Result<Zeroizing<Vec<u8>>> {
        let body = split_body(&token.body).filter(|_| self.is_of(token));
        let (nonce, ciphertext, tag) = body.ok_or(ErrorKind::Unsealable)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let aad = self.associated_data(token.field);
        decrypt(&self.cipher, nonce, &aad, &mut buffer, tag)?;
        Ok(buffer)
    }
}

/// Opens one token by itself: the padded JSON text of its field.
///
/// # Errors
/// `Unsealable`, as [`RecordKey::open`].
pub(crate) fn open(root: &RootSecret, scope: Scope<'_>, token: &Token) -> Result<Zeroizing<Vec<u8>>> {
    RecordKey::of(root, scope, token)?.open(token)
}

/// Nonce, ciphertext and tag.
fn split_body(body: &[u8]) -> Option<(&[u8; NONCE], &[u8], &[u8; TAG])> {
    let (nonce, rest) = body.get(START..)?.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    Some((nonce, ciphertext, tag))
}

/// Encrypts `buffer` in place and returns the tag.
fn encrypt(cipher: &Aes256Gcm, nonce: &[u8; NONCE], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer));
    tag.expect("a field is far below 64 GiB").into()
}

/// Decrypts `buffer` in place; leaves it as it was when the tag does not match.
fn decrypt(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG],
) -> Result<()> {
    let opened = cipher.decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer), tag.into());
    opened.map_err(|_| ErrorKind::Unsealable.into())
}

/// AES-256-GCM for the keyring file, by the same two functions as tokens.
pub(crate) fn encrypt_file(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    header: &[u8],
    mut content: Vec<u8>,
) -> Vec<u8> {
    content.reserve_exact(TAG);
    let tag = encrypt(&cipher(key), nonce, header, &mut content);
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
    decrypt(&cipher(key), nonce, header, &mut content, tag)?;
    Ok(content)
}

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new_from_slice(key).expect("32 bytes")
}

#[cfg(test)]
#[path = "aead_tests.rs"]
mod tests;
