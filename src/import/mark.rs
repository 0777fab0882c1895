//! The mark of an imported record, the secret field `imported_from`: from which old texts it came.
//!
//! It holds a keyed hash of each place and its old text. The random key is in the mark itself, which is sealed like every value. So nobody
//! who reads the table can test guesses of an old text. A rotation re-encrypts the mark and does not change it: the
//! hashes compare after every rotation, and after the root key is destroyed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng as _;
use serde_json::Value;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::Result;
use crate::import::sources::ExaminedText;
use crate::layout::layout::Layout;
use crate::postgres::walk::old_values::OldText;
use crate::record::values::quoted;

const KEY: usize = 32;
/// The bytes of a hash. They only distinguish the texts of one place over time.
const HASH: usize = 16;

/// The texts that a record came from.
pub(super) struct ImportMark {
    key: Zeroizing<[u8; KEY]>,
    /// Each place with the hash of its text, in order and once.
    texts: Vec<(String, String)>,
}

impl ImportMark {
    /// The mark of a record from these texts. A text of which something did not open is not in it: with another password more
    /// may open.
    pub(super) fn of(texts: &[ExaminedText], layout: &Layout) -> Result<Self> {
        let whole = texts.iter().filter(|text| text.is_whole() && !text.found.is_empty());
        Self::new(whole.map(|text| (layout.sources[text.text.source].place(), &text.text)))
    }

    /// A mark of these places and texts.
    fn new<'a>(texts: impl Iterator<Item = (String, &'a OldText)>) -> Result<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        random::with_rng(|rng| rng.fill_bytes(&mut *key))?;
        let mut mark = Self { key, texts: Vec::with_capacity(1) };
        for (place, text) in texts {
            let hash = mark.hash(&place, text);
            mark.texts.push((place, hash));
        }
        mark.texts.sort_unstable();
        mark.texts.dedup();
        Ok(mark)
    }

    /// `None` for a text that no version of this program writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let mut key = Zeroizing::new([0; KEY]);
        let length = URL_SAFE_NO_PAD.decode_slice(json["key"].as_str()?, &mut *key).ok()?;
        let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
        let texts = json["texts"].as_array()?.iter().map(pair).collect::<Option<_>>()?;
        (length == KEY).then_some(Self { key, texts })
    }

    pub(super) fn print(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.key));
        let texts: Vec<_> = self.texts.iter().map(|(place, hash)| (quoted(place), hash)).collect();
        let room = texts.iter().map(|(place, hash)| place.len() + hash.len() + 6).sum::<usize>();
        // it never grows, and leaves no copy of the key behind
        let mut json = Zeroizing::new(String::with_capacity(32 + key.len() + room));
        json.push_str("{\"key\":\"");
        json.push_str(&key);
        json.push_str("\",\"texts\":[");
        for (at, (place, hash)) in texts.iter().enumerate() {
            json.push_str(if at > 0 { ",[" } else { "[" });
            json.push_str(place);
            json.push_str(",\"");
            json.push_str(hash);
            json.push_str("\"]");
        }
        json.push_str("]}");
        json
    }

    /// Whether the record came from this text.
    pub(super) fn holds(&self, place: &str, text: &OldText) -> bool {
        let hash = self.hash(place, text);
        self.texts.iter().any(|(of, known)| of == place && *known == hash)
    }

    /// The places that took part.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(place, _)| place.as_str())
    }

    fn hash(&self, place: &str, text: &OldText) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(&*self.key).expect("any length is a key");
        let [iv, tag] = [&text.iv, &text.tag].map(|part| part.as_ref().map_or("", |part| part.as_str()));
        for part in [place, &text.content, iv, tag] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(&hash.finalize().into_bytes()[..HASH])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str, iv: Option<&str>) -> OldText {
        let part = |part: &str| Zeroizing::new(part.to_owned());
        let (user, tenant) = ("user-1".to_owned(), None);
        OldText {
            source: 0,
            user,
            tenant,
            content: part(content),
            is_bytes: false,
            is_json: false,
            is_cut: false,
            iv: iv.map(part),
            tag: None,
            time: None,
        }
    }

    #[test]
    fn a_mark_knows_its_texts_and_shows_none_of_them() {
        let (one, other) = (text("key_test_0001", None), text("key_test_0002", None));
        let mark = ImportMark::new([("a.b.c".to_owned(), &one)].into_iter()).unwrap();
        let printed = mark.print();
        assert!(!printed.contains("key_test"), "{}", printed.as_str());
        let read = ImportMark::parse(&printed).unwrap();
        assert_eq!(read.print(), printed);
        assert!(read.holds("a.b.c", &one) && !read.holds("a.b.c", &other) && !read.holds("a.b.d", &one));
        assert!(!read.holds("a.b.c", &text("key_test_0001", Some("iv"))), "the nonce belongs to it");
        assert!(!read.holds("a.b.c", &text("key_test_000", Some("1"))), "the parts do not run together");
        assert_eq!(read.places().collect::<Vec<_>>(), ["a.b.c"]);
        // two records from one text do not show that
        let again = ImportMark::new([("a.b.c".to_owned(), &one)].into_iter()).unwrap();
        assert!(again.texts != mark.texts);
        for bad in ["", "{}", r#"{"key":"AAAA","texts":[]}"#, r#"{"key":7,"texts":[]}"#, r#"{"key":"AAAA"}"#]
        {
            assert!(ImportMark::parse(bad).is_none(), "{bad}");
        }
    }
}
