//! Entry point for cargo-fuzz: the target is named by LANDFALL_FUZZ_TARGET.
#![no_main]

use std::sync::OnceLock;

use landfall_fuzz::{Target, target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let chosen = TARGET.get_or_init(|| {
        let name = std::env::var("LANDFALL_FUZZ_TARGET").expect("LANDFALL_FUZZ_TARGET is set");
        target(&name).expect("a target of that name")
    });
    (chosen.run)(data);
});
