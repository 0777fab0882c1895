//! The signature of a webhook call: the header, the time, and the HMAC.
//!
//! ```text
//! header   v=<milliseconds since 1970, decimal>,d=<64 lower-case hex digits>
//! d        HMAC-SHA-256 over the exact body and the decimal time, without a separator; the key is the text of an API key
//! ```
//!
//! Source: the official SDKs (npm retell-sdk 5.66.1, PyPI retell-sdk 6.2.13).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::hex::from_hex;
use crate::record::version::Millis;

/// How far the time of a signature may be from ours, both ways. Source: the official SDKs.
const WINDOW: Millis = 5 * 60 * 1_000;
/// The most digits of a time. More would be later than the year 5138.
const MAX_DIGITS: usize = 14;

/// The header of a webhook call. Whether it is genuine is not known yet.
#[derive(Clone, Copy)]
pub(crate) struct Signature<'a> {
    /// As it is in the header, since it is signed as text.
    time: &'a str,
    signed_at: Millis,
    digest: [u8; 32],
}

impl<'a> Signature<'a> {
    /// Strict: other forms that some releases of the SDKs accept are refused, such as a second time, upper-case digits or leading
    /// zeros. Retell sends none of them.
    ///
    /// # Errors
    /// `InvalidInput`, which does not repeat the header.
    pub(crate) fn parse(header: &'a str) -> Result<Self> {
        Self::read(header).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "the signature of the webhook is malformed").with_hint(
                "pass the value of the header X-Retell-Signature as it came: v=MILLISECONDS,d=64 HEX DIGITS",
            )
        })
    }

    fn read(header: &'a str) -> Option<Self> {
        let (time, digest) = header.strip_prefix("v=")?.split_once(",d=")?;
        let is_time = (1..=MAX_DIGITS).contains(&time.len())
            && time.bytes().all(|byte| byte.is_ascii_digit())
            && !time.starts_with('0');
        let signed_at = time.parse().ok().filter(|_| is_time)?;
        Some(Self { time, signed_at, digest: from_hex(digest)?.try_into().ok()? })
    }

    /// When Retell signed the call.
    pub(crate) fn signed_at(&self) -> Millis {
        self.signed_at
    }

    /// # Errors
    /// `Expired` when the signature is more than five minutes old, or that far in the future.
    pub(crate) fn check_time(&self, now: Millis) -> Result<()> {
        match self.signed_at.abs_diff(now) <= WINDOW {
            true => Ok(()),
            false => Err(ErrorKind::Expired.into()),
        }
    }

    /// Whether the body was signed with this key. The comparison takes constant time.
    pub(crate) fn is_of(&self, body: &[u8], key: &str) -> bool {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("an HMAC takes a key of any length");
        mac.update(body);
        mac.update(self.time.as_bytes());
        mac.verify_slice(&self.digest).is_ok()
    }
}

impl fmt::Debug for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", self.signed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "f35bab65726f0507d84ea7bbe0677b24cae34ba9ecda6c3d0ceefe088a6cfb8a";

    #[test]
    fn a_header_is_a_time_and_a_digest_and_nothing_else() {
        let header = format!("v=1794999998500,d={DIGEST}");
        let signature = Signature::parse(&header).unwrap();
        assert_eq!(
            (signature.signed_at(), signature.digest[..2].to_vec()),
            (1_794_999_998_500, vec![0xf3, 0x5b])
        );
        assert_eq!(format!("{signature:?}"), "Signature(1794999998500)", "no digest");

        let (upper, short, long) = (DIGEST.to_uppercase(), &DIGEST[1..], format!("{DIGEST}0"));
        let times = [
            "",
            "0",
            "00",
            "01794999998500",
            "+1794999998500",
            "-1",
            " 1794999998500",
            "1794999998500 ",
            "1.7e12",
            "0x1a1",
            "179499999850000",
            "18446744073709551616",
            "99999999999999999999999",
            "١٧٩٤٩٩٩٩٩٨٥٠٠",
            "１７９４９９９９９８５００",
            "1794999998500,v=1794999998500",
            "1794999998500,",
            "v=1794999998500",
            "1_794_999_998_500",
            "\0",
            "NaN",
        ];
        let digests = [
            "",
            upper.as_str(),
            short,
            &long,
            &DIGEST[..63],
            "0",
            " ",
            "g",
            &format!("{}g", &DIGEST[1..]),
            &format!(" {short}"),
            &format!("{DIGEST} "),
            &format!("{DIGEST}\n"),
            &format!("{DIGEST},"),
            &format!("{DIGEST},v=1"),
            &format!("d={DIGEST}"),
            &format!("{DIGEST},d={DIGEST}"),
            &format!("0x{}", &DIGEST[2..]),
            &format!("{}é", &DIGEST[2..]),
            &"é".repeat(32),
            &"f".repeat(1 << 20),
        ];
        let whole = [
            "",
            "v",
            "v=",
            ",",
            "d=",
            "v=,d=",
            DIGEST,
            "v=1794999998500",
            "v=1794999998500;d=",
            "d=1,v=2",
            "t=1,v1=2",
            "\u{feff}",
        ];
        let bad_times = times.iter().map(|time| format!("v={time},d={DIGEST}"));
        let bad_digests = digests.iter().map(|digest| format!("v=1794999998500,d={digest}"));
        let others = [
            format!("V=1794999998500,d={DIGEST}"),
            format!("v=1794999998500,D={DIGEST}"),
            format!("v=1794999998500, d={DIGEST}"),
            format!(" v=1794999998500,d={DIGEST}"),
            format!("d={DIGEST},v=1794999998500"),
            format!("v=1794999998500d={DIGEST}"),
            format!("v =1794999998500,d={DIGEST}"),
            format!("v=1794999998500,d= {DIGEST}"),
            format!("x,v=1794999998500,d={DIGEST}"),
        ];
        let all = bad_times.chain(bad_digests).chain(whole.map(str::to_owned)).chain(others);
        let mut tried = 0;
        for header in all {
            let refused = Signature::parse(&header).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{header:?}");
            assert!(!refused.to_string().contains("17949") && !refused.hint().contains("17949"));
            tried += 1;
        }
        assert!(tried > 60, "{tried}");
    }

    #[test]
    fn a_signature_is_valid_for_five_minutes_both_ways() {
        let header = format!("v=1795000000000,d={DIGEST}");
        let signature = Signature::parse(&header).unwrap();
        for (now, is_valid) in [
            (1_795_000_000_000, true),
            (1_795_000_300_000, true),
            (1_795_000_300_001, false),
            (1_794_999_700_000, true),
            (1_794_999_699_999, false),
            (0, false),
            (Millis::MAX, false),
        ] {
            let checked = signature.check_time(now).map_err(|error| error.kind());
            assert_eq!(checked, if is_valid { Ok(()) } else { Err(ErrorKind::Expired) }, "{now}");
        }
    }

    /// The cases of the SDKs are in tests/records/webhooks.rs.
    #[test]
    fn body_and_time_are_signed_with_nothing_between() {
        let header = "v=1795000000000,d=0000000000000000000000000000000000000000000000000000000000000000";
        let unsigned = Signature::parse(header).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key_test_1").unwrap();
        mac.update(b"{}1795000000000");
        let signature = Signature { digest: mac.finalize().into_bytes().into(), ..unsigned };
        assert!(signature.is_of(b"{}", "key_test_1"));
        assert!(!signature.is_of(b"{} ", "key_test_1") && !signature.is_of(b"{}", "key_test_2"));
        assert!(!signature.is_of(b"{}1", "key_test_1") && !unsigned.is_of(b"{}", "key_test_1"));
    }
}
