//! Canonical JSON (RFC 8785), for whole numbers: what was signed can be written again from what
//! was read.

use serde_json::Value;

/// Largest whole number that every JSON implementation keeps exactly.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// The canonical text of `value`; an error for numbers that languages write differently.
pub fn canonical(value: &Value) -> Result<String, &'static str> {
    let mut text = String::new();
    write(value, &mut text)?;
    Ok(text)
}

fn write(value: &Value, out: &mut String) -> Result<(), &'static str> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            let integer = number.as_i64().filter(|whole| whole.abs() <= INTEGER_MAX);
            let integer = integer.ok_or("it holds a number that is not whole or too large")?;
            out.push_str(&integer.to_string());
        }
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (at, (name, member)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                write(member, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", character as u32)),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, &'static str> {
        canonical(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn members_are_sorted_by_utf16_code_units() {
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        let wanted = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(of(text).unwrap(), wanted);
    }

    #[test]
    fn strings_have_the_shortest_escapes() {
        let text = r#"["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\u007f", [], {}, null, true]"#;
        let wanted = "[\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\",[],{},null,true]";
        assert_eq!(of(text).unwrap(), wanted);
    }

    #[test]
    fn only_safe_whole_numbers_are_taken() {
        assert_eq!(of("[0,-1,9007199254740991]").unwrap(), "[0,-1,9007199254740991]");
        for text in ["1.5", "1e300", "9007199254740992", "18446744073709551615"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
