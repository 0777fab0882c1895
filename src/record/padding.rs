//! How plaintexts are padded before they are sealed, so that lengths leak little.

/// Plaintexts are padded to a multiple of this. No token holds less.
pub(crate) const PADDING: usize = 64;

/// The length of a JSON text once it is padded.
pub(crate) fn padded_len(json: usize) -> usize {
    json.max(1).next_multiple_of(PADDING)
}

/// Pads the JSON text that begins at `start`, with the white space that JSON ignores.
pub(crate) fn pad(text: &mut Vec<u8>, start: usize) {
    let end = start + padded_len(text.len() - start);
    text.resize(end, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_filled_up_with_spaces_and_nothing_else_changes() {
        for (json, padded) in [(0, 64), (1, 64), (64, 64), (65, 128)] {
            let mut text = b"before".to_vec();
            text.extend(vec![b'x'; json]);
            pad(&mut text, 6);
            assert_eq!((text.len() - 6, padded_len(json)), (padded, padded), "{json}");
            assert!(text.starts_with(b"before") && text[6 + json..].iter().all(|byte| *byte == b' '));
        }
    }
}
