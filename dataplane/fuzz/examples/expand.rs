//! Writes the corpus of a target as one file per input, as cargo-fuzz wants it:
//! `cargo run -p landfall-fuzz --example expand -- TARGET FOLDER`.

use std::path::PathBuf;

fn main() -> Result<(), String> {
    let usage = || "usage: expand TARGET FOLDER".to_string();
    let mut words = std::env::args().skip(1);
    let (name, folder) = (words.next().ok_or_else(usage)?, words.next().ok_or_else(usage)?);
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for input in landfall_fuzz::corpus(&name)? {
        let path = folder.join(&input.name);
        std::fs::write(&path, input.bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}
