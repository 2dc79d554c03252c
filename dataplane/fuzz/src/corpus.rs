//! The committed inputs. One file per target, one input per line: a name, then the bytes in
//! hexadecimal, or after `=` as text. Golden frames of the wire belong to it.

use std::path::PathBuf;

/// An input with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Says what is special about it.
    pub name: String,
    /// What the target gets.
    pub bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The inputs of a target, the empty one among them. A line that cannot be read is an error.
pub fn corpus(target: &str) -> Result<Vec<Input>, String> {
    let mut inputs = vec![Input { name: "empty".into(), bytes: Vec::new() }];
    let path = folder().join("corpus").join(target).with_extension("txt");
    inputs.extend(read(&path)?);
    if let Some(kind) = target.strip_prefix("wire_") {
        let golden = read(&folder().join("../landfall-wire/golden/frames.txt"))?;
        for frame in golden {
            match kind {
                "header" | "stream" => inputs.push(frame),
                _ if frame.name.starts_with(kind) => {
                    let bytes = frame.bytes.get(landfall_wire::HEADER_LEN..).unwrap_or_default();
                    inputs.push(Input { name: frame.name, bytes: bytes.to_vec() });
                }
                _ => {}
            }
        }
    }
    Ok(inputs)
}

fn read(path: &std::path::Path) -> Result<Vec<Input>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse(line).ok_or(format!("{}: {line}", path.display()))).collect()
}

fn parse(line: &str) -> Option<Input> {
    let (name, rest) = line.split_once([' ', '='])?;
    let bytes = match line.as_bytes()[name.len()] {
        b'=' => rest.as_bytes().to_vec(),
        _ => hex(rest)?,
    };
    Some(Input { name: name.into(), bytes })
}

/// Bytes in hexadecimal; `xN` after a pair repeats it N times. Spaces mean nothing.
fn hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('x').unwrap_or((word, "1"));
        let times: usize = times.parse().ok().filter(|times| *times <= 1 << 16)?;
        if !digits.is_ascii() || digits.len() % 2 != 0 {
            return None;
        }
        let pairs = (0..digits.len()).step_by(2);
        let piece: Option<Vec<u8>> =
            pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect();
        bytes.extend(piece?.repeat(times));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_hexadecimal_with_repeats_or_text() {
        assert_eq!(parse("a 01ff 00x3").unwrap().bytes, [1, 255, 0, 0, 0]);
        assert_eq!(parse("b={\"a\": 1}").unwrap().bytes, b"{\"a\": 1}");
        assert_eq!(parse("c 0"), None);
        assert_eq!(parse("alone"), None);
    }
}
