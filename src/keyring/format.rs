//! The format of the keyring file: JSON around root keys that are sealed under a wrapping key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::aead::{decrypt_file, encrypt_file};
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyInfo, KeyState, RootKey, RootKeys};
use crate::keyring::material::Material;
use crate::keyring::subkeys::{Subkey, Subkeys};
use crate::keyring::wrapping::{Wrapping, WrappingKey};
use crate::record::token::NONCE;

const FORMAT: &str = "retell-vault-keyring";
const VERSION: u32 = 1;

/// What stands in the clear at the head of the file. Its JSON, in this order and without white
/// space, is the associated data of the seal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    version: u32,
    pub(super) generation: u64,
    pub(super) wrapping: Wrapping,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outer {
    pub(super) header: Header,
    sealed: String,
}

/// The sealed part. Read only: it is printed by [`print_content`], which wipes what it made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    stable: Base64Key,
    keys: Vec<ContentKey>,
    /// Absent in keyrings of version 0.1.
    #[serde(default)]
    subkeys: Vec<ContentSubkey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentSubkey {
    #[serde(rename = "use")]
    usage: String,
    epoch: u32,
    key: Base64Key,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentKey {
    id: String,
    state: String,
    created_at: u64,
    state_since: u64,
    fingerprint: String,
    material: Option<Base64Key>,
}

/// 32 bytes in base64, wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Base64Key(Zeroizing<String>);

impl Base64Key {
    fn decode(&self) -> Result<Material> {
        Material::written_by(|key| match STANDARD.decode_slice(self.0.as_bytes(), key) {
            Ok(32) => Ok(()),
            _ => Err(damaged("key material must be 32 bytes in base64")),
        })
    }
}

/// # Errors
/// `KeyringFile`, without a byte of the text.
pub(super) fn parse(text: &[u8]) -> Result<Outer> {
    let outer: Outer = serde_json::from_slice(text).map_err(|error| {
        // the error's own text may repeat a value of the file
        damaged(&format!(
            "not a keyring file, or truncated at line {} column {}",
            error.line(),
            error.column()
        ))
    })?;
    match outer.header.format == FORMAT && outer.header.version == VERSION {
        true => Ok(outer),
        false => Err(damaged("the keyring file has another format or version")),
    }
}

/// # Errors
/// `Entropy`.
pub(super) fn seal(keys: &RootKeys, wrapping: &Wrapping, key: &WrappingKey) -> Result<String> {
    let nonce = random::system_bytes::<NONCE>()?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        generation: keys.generation,
        wrapping: wrapping.clone(),
        nonce: STANDARD.encode(nonce),
    };
    let content = print_content(keys);
    let sealed = encrypt_file(&key.0, &nonce, &header_bytes(&header), content);
    let outer = Outer { header, sealed: STANDARD.encode(sealed) };
    let mut text = serde_json::to_string_pretty(&outer).expect("strings and numbers always print");
    text.push('\n');
    Ok(text)
}

/// # Errors
/// `KeyringLocked` when the key is another one or anything was altered; else `KeyringFile`.
pub(super) fn unseal(outer: &Outer, key: &WrappingKey) -> Result<RootKeys> {
    let nonce =
        STANDARD.decode(&outer.header.nonce).ok().and_then(|nonce| <[u8; NONCE]>::try_from(nonce).ok());
    let nonce = nonce.ok_or_else(|| damaged("the nonce must be 12 bytes in base64"))?;
    let sealed = STANDARD.decode(&outer.sealed).map_err(|_| damaged("the sealed part is not base64"))?;
    let content = decrypt_file(&key.0, &nonce, &header_bytes(&outer.header), &sealed);
    let content = content.map_err(|_| Error::new(ErrorKind::KeyringLocked, "the keyring did not open"))?;
    parse_content(&content, outer.header.generation)
}

fn header_bytes(header: &Header) -> Vec<u8> {
    serde_json::to_vec(header).expect("strings and numbers always print")
}

/// The sealed part as JSON, in one buffer that is encrypted in place. Every value is hex, base64 or
/// a number, so that nothing needs escaping.
fn print_content(keys: &RootKeys) -> Vec<u8> {
    // it never grows, so that no copy of a key stays behind
    let lists = keys.keys().len() + keys.subkeys.iter().count();
    let mut text = String::with_capacity(256 + lists * 512);
    text.push_str("{\"stable\":\"");
    STANDARD.encode_string(*keys.stable, &mut text);
    text.push_str("\",\"keys\":[");
    for (number, key) in keys.keys().iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        print_key(key, &mut text);
    }
    text.push(']');
    for (number, subkey) in keys.subkeys.iter().enumerate() {
        text.push_str(if number == 0 { ",\"subkeys\":[" } else { "," });
        print_subkey(subkey, &mut text);
    }
    text.push_str(if keys.subkeys.iter().next().is_some() { "]}" } else { "}" });
    text.into_bytes()
}

fn print_key(key: &RootKey, text: &mut String) {
    use std::fmt::Write;
    let KeyInfo { id, state, created_at, state_since, fingerprint } = &key.info;
    let state = state.as_str();
    write!(
        text,
        "{{\"id\":\"{id}\",\"state\":\"{state}\",\"created_at\":{created_at},\"state_since\":{state_since},\
         \"fingerprint\":\"{fingerprint}\",\"material\":"
    )
    .expect("writing to a string cannot fail");
    match &key.material {
        Some(material) => {
            text.push('"');
            STANDARD.encode_string(**material, text);
            text.push_str("\"}");
        }
        None => text.push_str("null}"),
    }
}

fn print_subkey(Subkey { usage, epoch, key }: &Subkey, text: &mut String) {
    use std::fmt::Write;
    write!(text, "{{\"use\":\"{usage}\",\"epoch\":{epoch},\"key\":\"")
        .expect("writing to a string cannot fail");
    STANDARD.encode_string(**key, text);
    text.push_str("\"}");
}

fn parse_content(content: &[u8], generation: u64) -> Result<RootKeys> {
    // the error's own text may repeat key material
    let content: Content =
        serde_json::from_slice(content).map_err(|_| damaged("the sealed part has unexpected content"))?;
    let keys = content.keys.into_iter().map(restore_key).collect::<Result<_>>()?;
    let subkeys = content.subkeys.into_iter().map(restore_subkey).collect::<Result<_>>()?;
    let keys = RootKeys::restore(generation, content.stable.decode()?, keys)?;
    Ok(keys.with_subkeys(Subkeys::new(subkeys)?))
}

fn restore_subkey(subkey: ContentSubkey) -> Result<Subkey> {
    Ok(Subkey { usage: subkey.usage, epoch: subkey.epoch, key: subkey.key.decode()? })
}

fn restore_key(key: ContentKey) -> Result<RootKey> {
    let id = key.id.parse().map_err(|_| damaged("a key id must be 8 lower-case hex digits"))?;
    let state = KeyState::parse(&key.state).ok_or_else(|| damaged("a key has an unknown state"))?;
    let material = key.material.as_ref().map(Base64Key::decode).transpose()?;
    let info = KeyInfo {
        id,
        state,
        created_at: key.created_at,
        state_since: key.state_since,
        fingerprint: key.fingerprint,
    };
    RootKey::restore(info, material)
}

pub(super) fn damaged(message: &str) -> Error {
    Error::new(ErrorKind::KeyringFile, message.to_owned())
}
