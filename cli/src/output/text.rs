//! Numbers and times as mdadm writes them, so that people find what they know.

use std::fmt::{Display, Write};

use jiff::tz::TimeZone;
use kcopy::Sectors;
use reshape::metadata::Timestamp;

/// Lines of `name : value`, the names right-aligned.
#[derive(Debug)]
pub(crate) struct Fields {
    text: String,
    width: usize,
}

impl Fields {
    /// Names take up `width` columns.
    pub(crate) fn new(width: usize) -> Self {
        Self { text: String::new(), width }
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, text: impl Display) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "{text}");
    }

    /// `name : value`
    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        let width = self.width;
        let _ = writeln!(self.text, "{name:>width$} : {value}");
    }

    /// The lines, without the last line break.
    pub(crate) fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches('\n').len());
        self.text
    }
}

/// `17 KiB`, and from 5000 KiB on both kinds of units behind it, as mdadm has them: ` (4.88 MiB
/// 5.12 MB)`. Empty below.
pub(crate) fn both_units(length: Sectors) -> String {
    let bytes = u128::from(length.get()) * 512;
    let Some((power, letter)) = unit(bytes) else { return String::new() };
    let binary = hundredths(bytes, 1024_u128.pow(power));
    let decimal = hundredths(bytes, 1000_u128.pow(power));
    format!(" ({binary} {letter}iB {decimal} {letter}B)")
}

/// `5.12MB`; empty below 5000 KiB.
pub(crate) fn decimal_unit(length: Sectors) -> String {
    let bytes = u128::from(length.get()) * 512;
    unit(bytes).map_or_else(String::new, |(power, letter)| {
        format!("{}{letter}B", hundredths(bytes, 1000_u128.pow(power)))
    })
}

/// The power of 1024 and the letter of the unit that so many bytes are told in.
const fn unit(bytes: u128) -> Option<(u32, char)> {
    const GIB: u128 = 1 << 30;
    match bytes >> 10 {
        0..5000 => None,
        _ if bytes < 2 * GIB => Some((2, 'M')),
        _ if bytes < 2048 * GIB => Some((3, 'G')),
        _ => Some((4, 'T')),
    }
}

/// `bytes` in `unit`, rounded to two digits.
fn hundredths(bytes: u128, unit: u128) -> String {
    let hundredths = (bytes * 200 / unit).div_ceil(2);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Local time as C's `ctime` has it: `Sat Nov 21 03:24:24 2026`.
pub(crate) fn local_time(time: Timestamp) -> String {
    let instant =
        i64::try_from(time.seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    instant.map_or_else(
        || format!("{} seconds after 1970", time.seconds),
        |instant| {
            let zoned = instant.to_zoned(TimeZone::system());
            zoned.strftime("%a %b %e %H:%M:%S %Y").to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mdadm 4.2 printed for these sizes.
    #[test]
    fn sizes_are_rounded_as_mdadm_rounds_them() {
        for (kib, expected) in [
            (0, ""),
            (4999, ""),
            (5000, " (4.88 MiB 5.12 MB)"),
            (9998, " (9.76 MiB 10.24 MB)"),
            (2_097_151, " (2048.00 MiB 2147.48 MB)"),
            (2_097_152, " (2.00 GiB 2.15 GB)"),
            (2_147_483_647, " (2048.00 GiB 2199.02 GB)"),
            (2_147_483_648, " (2.00 TiB 2.20 TB)"),
            (1 << 40, " (1024.00 TiB 1125.90 TB)"),
        ] {
            assert_eq!(both_units(Sectors::new(kib * 2)), expected, "{kib} KiB");
        }
        assert_eq!(decimal_unit(Sectors::new(9998)), "");
        assert_eq!(decimal_unit(Sectors::new(19998)), "10.24MB");
        assert_eq!(both_units(Sectors::new(u64::MAX)), " (8589934592.00 TiB 9444732965.74 TB)");
    }

    #[test]
    fn times_beyond_the_calendar_are_told_all_the_same() {
        let late = Timestamp::from_seconds((1 << 40) - 1);
        assert_eq!(local_time(late), "1099511627775 seconds after 1970");
        assert_eq!(local_time(Timestamp::from_seconds(1_795_231_464)).len(), 24);
    }

    #[test]
    fn fields_stand_in_a_column() {
        let mut fields = Fields::new(8);
        fields.line("m0:");
        fields.field("Version", "1.2");
        fields.line("");
        assert_eq!(fields.finish(), "m0:\n Version : 1.2");
    }
}
