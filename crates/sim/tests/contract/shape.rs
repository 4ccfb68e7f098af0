//! Comparing what was answered with what was recorded.

use serde_json::Value;

/// The same keys and types, all the way down; the same flags; the same code and text of errors.
pub fn same_shape(theirs: &Value, ours: &Value, amount: bool, at: &str) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(keys(b), keys(a), "keys at {at}");
            for (key, theirs) in a {
                match key.as_str() {
                    "code" => assert_eq!(&b[key], theirs, "{at}.{key}"),
                    "message" => {
                        let text = |value: &Value| mask(value.as_str().unwrap_or_default());
                        let before = |text: String| {
                            text.split(", because")
                                .next()
                                .unwrap_or_default()
                                .to_owned()
                        };
                        assert_eq!(before(text(&b[key])), before(text(theirs)), "{at}.{key}");
                    }
                    // These describe the image, not the API: they follow from the config that was pushed.
                    "Labels" | "metadata" => {}
                    _ => same_shape(theirs, &b[key], amount, &format!("{at}.{key}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if amount {
                assert_eq!(b.len(), a.len(), "length of the list at {at}: {ours}");
            }
            for (index, (theirs, ours)) in a.iter().zip(b).enumerate() {
                same_shape(theirs, ours, amount, &format!("{at}[{index}]"));
            }
        }
        (Value::Bool(a), Value::Bool(b)) => assert_eq!(b, a, "{at}"),
        _ => assert_eq!(
            kind(ours),
            kind(theirs),
            "type at {at}: {ours} for {theirs}"
        ),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Numbers, digests and upload states differ from run to run.
pub fn mask(text: &str) -> String {
    let text = text.split("?_state=").next().unwrap_or_default();
    let mut masked = String::new();
    let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    for word in words {
        let bare = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let is_hex = bare.len() >= 32 && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if is_hex {
            masked.push('#');
            masked.push_str(&word[bare.len()..]);
            continue;
        }
        let mut was_digit = false;
        for c in word.chars() {
            if c.is_ascii_digit() {
                if !was_digit {
                    masked.push('#');
                }
            } else {
                masked.push(c);
            }
            was_digit = c.is_ascii_digit();
        }
    }
    masked
}
