//! Bytes and texts of old values: base64 and hex in their usual spellings, Latin-1, and AES-GCM with any usual length of key and nonce.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::cipher::{
    BlockCipherEncrypt, BlockSizeUser,
    consts::{U12, U16},
};
use aes_gcm::aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use aes_gcm::{AesGcm, KeyInit};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// The length of a tag in bytes.
pub(crate) const TAG: usize = 16;

/// Base64 in the standard alphabet, with or without padding.
pub(crate) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD.decode(text).ok().map(Zeroizing::new)
}

/// Base64 in the alphabet for URLs, with or without padding.
pub(crate) fn base64_url(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE.decode(text).ok().map(Zeroizing::new)
}

/// Hex digits in either case.
pub(crate) fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

/// Everything that a text may stand for as hex and as base64, without repetitions.
pub(super) fn decodings(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut all: Vec<_> = [hex(text), base64(text), base64_url(text)].into_iter().flatten().collect();
    all.dedup();
    all
}

/// Latin-1, which `btoa` of browsers encodes.
pub(super) fn latin1(bytes: &[u8]) -> Zeroizing<String> {
    // two bytes at most for a character: the text never grows, and leaves no copy behind
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    text.extend(bytes.iter().map(|byte| char::from(*byte)));
    text
}

pub(crate) fn utf8(bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

/// Opens a ciphertext of AES-GCM without associated data. The key has 16, 24 or 32 bytes and the nonce 12 or 16. `None`: the
/// lengths are others, or the tag does not fit.
pub(super) fn open_gcm(key: &[u8], iv: &[u8], sealed: &[u8], tag: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match key.len() {
        16 => open_with::<Aes128Enc>(key, iv, sealed, tag),
        24 => open_with::<Aes192Enc>(key, iv, sealed, tag),
        32 => open_with::<Aes256Enc>(key, iv, sealed, tag),
        _ => None,
    }
}

fn open_with<A>(key: &[u8], iv: &[u8], sealed: &[u8], tag: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    A: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + KeyInit,
{
    let tag: &[u8; TAG] = tag.try_into().ok()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let buffer = InOutBuf::from(text.as_mut_slice());
    let opened = match iv.len() {
        12 => AesGcm::<A, U12>::new_from_slice(key).ok()?.decrypt_inout_detached(
            iv.try_into().ok()?,
            b"",
            buffer,
            tag.into(),
        ),
        16 => AesGcm::<A, U16>::new_from_slice(key).ok()?.decrypt_inout_detached(
            iv.try_into().ok()?,
            b"",
            buffer,
            tag.into(),
        ),
        _ => return None,
    };
    opened.ok().map(|()| text)
}
