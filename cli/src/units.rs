//! Sizes as people write and read them.
//!
//! | written | means |
//! | --- | --- |
//! | `4096`, `4096B` | bytes |
//! | `8s` | sectors of 512 bytes |
//! | `4K`, `4KiB`, `4k` | times 1024; also `M G T P E` |
//! | `4KB`, `4kB` | times 1000; also `MB GB TB PB EB` |
//!
//! Options that mdadm has too take a number without a unit for KiB, as mdadm does: [`KibSize`].

use std::fmt;
use std::str::FromStr;

/// A number of bytes, read from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A number of bytes, read from the command line; without a unit it counts KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KibSize(pub u64);

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// There is no number in front.
    NoNumber,
    /// The number has a fraction.
    NotWhole,
    /// The letters behind the number are no unit.
    UnknownUnit,
    /// The number of bytes does not fit in 64 bits.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNumber => {
                "a size is a whole number and a unit, such as 4KiB, 8s (sectors) or 1G"
            }
            Self::NotWhole => "a size is a whole number: write 1536K instead of 1.5M",
            Self::UnknownUnit => {
                "unknown unit; known are B, s (sectors of 512 bytes), K M G T P E and KiB MiB ... \
                 (times 1024), KB MB ... (times 1000)"
            }
            Self::TooLarge => "this many bytes do not fit in 64 bits",
        })
    }
}

impl std::error::Error for SizeError {}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim_matches(' ');
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::NoNumber);
        }
        if unit.starts_with(['.', ',']) {
            return Err(SizeError::NotWhole);
        }
        let factor = factor(unit.trim_start_matches(' ')).ok_or(SizeError::UnknownUnit)?;
        // Digits only: the one way to fail is a number that is too large.
        let number = number.parse::<u64>().map_err(|_| SizeError::TooLarge)?;
        number.checked_mul(factor).map(Self).ok_or(SizeError::TooLarge)
    }
}

impl FromStr for KibSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let Size(number) = text.parse()?;
        let is_bare = text.trim_matches(' ').bytes().all(|byte| byte.is_ascii_digit());
        let factor = if is_bare { 1024 } else { 1 };
        number.checked_mul(factor).map(Self).ok_or(SizeError::TooLarge)
    }
}

/// Bytes in one of `unit`.
fn factor(unit: &str) -> Option<u64> {
    match unit {
        "" | "B" => return Some(1),
        "s" | "S" => return Some(512),
        _ => {}
    }
    let mut letters = unit.chars();
    let power = match letters.next()?.to_ascii_uppercase() {
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        'P' => 5,
        'E' => 6,
        _ => return None,
    };
    match letters.as_str() {
        "" | "iB" | "ib" => Some(1024u64.pow(power)),
        "B" | "b" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// `bytes` with a unit: `17 B`, `4 KiB`, `1.50 GiB`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // The largest unit of which there is at least one.
    let mut index = 0;
    while index + 1 < UNITS.len() && bytes >> (10 * (index + 2)) > 0 {
        index += 1;
    }
    let shift = 10 * (index + 1);
    let hundredths = (u128::from(bytes) * 100) >> shift;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    if u128::from(bytes) == whole << shift {
        format!("{whole} {}", UNITS[index])
    } else {
        format!("{whole}.{rest:02} {}", UNITS[index])
    }
}

/// `bytes`, exact, and with a unit where that says more: `4097 bytes (4.00 KiB)`.
pub fn exact(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{bytes} bytes ({})", human(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Result<u64, SizeError> {
        text.parse::<Size>().map(|size| size.0)
    }

    #[test]
    fn sizes_are_read_as_the_table_says() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("8s", 4096),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4kib", 4096),
            ("4KB", 4000),
            ("4kB", 4000),
            ("1MB", 1_000_000),
            ("1M", 1 << 20),
            ("3GiB", 3 << 30),
            ("1T", 1 << 40),
            ("1PiB", 1 << 50),
            ("15E", 15 << 60),
            ("1 MiB", 1 << 20),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "K", "-1", "+1", " ", "s", "\u{661}"] {
            assert_eq!(bytes(text), Err(SizeError::NoNumber), "{text}");
        }
        for text in ["1.5G", "1,5G", "0.5", "1."] {
            assert_eq!(bytes(text), Err(SizeError::NotWhole), "{text}");
        }
        for text in ["0x10", "4b", "4X", "4KiBs", "4Ki", "4 K B", "4KK", "1e3", "4KiB\n"] {
            assert_eq!(bytes(text), Err(SizeError::UnknownUnit), "{text}");
        }
        for text in ["16E", "18446744073709551616", "36028797018963968s", "99999999999999999999"] {
            assert_eq!(bytes(text), Err(SizeError::TooLarge), "{text}");
        }
    }

    #[test]
    fn number_without_a_unit_may_count_kib() {
        let bytes = |text: &str| text.parse::<KibSize>().map(|size| size.0);
        for (text, expected) in
            [("0", 0), ("64", 65536), (" 64 ", 65536), ("64K", 65536), ("64B", 64), ("8s", 4096)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(bytes("18014398509481984"), Err(SizeError::TooLarge));
        assert_eq!(bytes(""), Err(SizeError::NoNumber));
    }

    #[test]
    fn people_read_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (1 << 20, "1 MiB"),
            ((1 << 20) + 1, "1.00 MiB"),
            (u64::MAX, "15.99 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(exact(1), "1 byte");
        assert_eq!(exact(4097), "4097 bytes (4.00 KiB)");
    }

    proptest! {
        #[test]
        fn reading_never_panics_for_all(text in "\\PC*") {
            let _ = bytes(&text);
        }

        #[test]
        fn reading_never_panics_near_the_grammar_for_all(text in "[0-9]{0,24}[ ]?[a-zA-Z]{0,4}") {
            let _ = bytes(&text);
        }

        #[test]
        fn bytes_and_sectors_are_read_back_for_all(number: u64) {
            prop_assert_eq!(bytes(&number.to_string()), Ok(number));
            let sectors = bytes(&format!("{number}s"));
            prop_assert_eq!(sectors.ok(), number.checked_mul(512));
        }

        #[test]
        fn human_text_never_panics_and_has_a_unit_for_all(number: u64) {
            prop_assert!(human(number).ends_with('B'));
        }
    }
}
