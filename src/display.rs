//! Prints text that others chose so that it cannot pass for the program's own: names, ids of owners, paths, server messages.
//!
//! Messages, hints, findings and notes hold such text in its visible form. A program that needs a name or an id back gets it
//! from JSON, where the same characters are escaped and nothing is lost.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Characters that no font shows, or that change how the text beside them is shown: Unicode's `Default_Ignorable_Code_Point`
/// (DerivedCoreProperties.txt of Unicode 16), the other format characters that steer text, and the blank of Braille.
/// Controls and white space are known to `char`.
const INVISIBLE: [RangeInclusive<char>; 18] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether a character is visible and does not affect others. The space is the only blank that qualifies.
pub(crate) fn is_harmless(char: char) -> bool {
    match char.is_ascii() {
        true => (' '..='~').contains(&char),
        false => {
            let hides = || INVISIBLE.iter().any(|range| range.contains(&char));
            !char.is_control() && !char.is_whitespace() && !hides()
        }
    }
}

/// One line in which every character is visible: controls, line breaks, direction marks and zero-width characters are
/// printed as `\u{202e}`. For messages; the result is not parsed back.
///
/// ```
/// assert_eq!(retell_vault::display::visible("a\n\u{202e}b"), r"a\u{a}\u{202e}b");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmless, |char, shown| shown.extend(char.escape_unicode()))
}

/// JSON with the same characters as `\u202e`, so that it may go to a terminal and means the same. Line breaks between its
/// members stay.
///
/// ```
/// let json = retell_vault::display::visible_json("{\"user\":\"a\u{202e}b\"}");
/// assert_eq!(json, r#"{"user":"a\u202eb"}"#);
/// ```
pub fn visible_json(json: &str) -> Cow<'_, str> {
    escaped(json, |char| is_harmless(char) || char == '\n', escape_in_json)
}

fn escape_in_json(char: char, shown: &mut String) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        shown.push_str(&format!("\\u{unit:04x}"));
    }
}

/// The text with an escape for every unsafe character.
fn escaped(
    text: &str,
    is_harmless: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if text.chars().all(&is_harmless) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match is_harmless(char) {
            true => shown.push(char),
            false => escape(char, &mut shown),
        }
    }
    shown.into()
}

/// A member of a report that is serialised as it is displayed.
#[cfg(feature = "cli")]
pub(crate) fn displayed<S: serde::Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The same for a text that contains names that others chose, and is not copied unless it has to be.
pub(crate) fn one_line(text: String) -> String {
    match visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: C0, DEL, C1, NEL, separators, marks of direction, no width, soft hyphen, tags, selectors, fillers.
    const HARMFUL: &str = "\0\t\n\r\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{a0}\u{ad}\u{34f}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\
        \u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{3000}\u{3164}\u{fe0f}\
        \u{feff}\u{fff9}\u{e0001}\u{e0041}\u{e0100}";

    #[test]
    fn every_harmful_character_is_seen_and_nothing_else_changes() {
        for char in HARMFUL.chars() {
            let shown = visible(&format!("a{char}b")).into_owned();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(char)));
            assert_eq!(visible(&shown), shown, "what is visible stays as it is");
        }
        for text in ["", "user-42", "José Ünal", "ключ", "鍵", "مفتاح", r"a\b", "'\"`$", "🔑"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn json_is_safe_to_print_and_loses_nothing() {
        let value = serde_json::json!({ "owner": HARMFUL, "plain": "é鍵" });
        let printed = value.to_string();
        let shown = visible_json(&printed);
        assert!(shown.chars().all(is_harmless), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
