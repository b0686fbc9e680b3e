//! Any text as what people write on the command line: sizes, uuids, names, versions, levels.
#![no_main]

use cli::units::{Size, exact, human};
use libfuzzer_sys::fuzz_target;
use reshape::geometry::Level;
use reshape::metadata::{ArrayName, Uuid, Version};

fuzz_target!(|text: &str| {
    if let Ok(Size(bytes)) = text.parse() {
        assert_eq!(bytes.to_string().parse(), Ok(Size(bytes)));
        assert!(human(bytes).ends_with('B') && exact(bytes).contains("byte"));
    }
    if let Ok(uuid) = text.parse::<Uuid>() {
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
    }
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.name().parse(), Ok(version));
    }
    if let Ok(level) = text.parse::<Level>() {
        assert_eq!(level.name().parse(), Ok(level));
    }
    if let Some(name) = ArrayName::new(text) {
        assert_eq!(name.as_bytes(), text.as_bytes());
        assert!(!name.to_string().contains(char::is_control));
    }
});
