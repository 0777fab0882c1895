//! Texts with places to fill in.

/// Puts values in place of `<<name>>`. What a value holds is not looked at again: it may be a name that the
/// application chose.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut parts = template.split("<<");
    text.extend(parts.next());
    for part in parts {
        let (name, rest) = part.split_once(">>").expect("every place in our templates is closed");
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        text.push_str(value.expect("every place in our templates has a value"));
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_templates() {
        let values = [("a", "<<b>>".to_owned()), ("b", "2".to_owned())];
        assert_eq!(fill("1 <<a>> <<b>>", &values), "1 <<b>> 2");
    }
}
