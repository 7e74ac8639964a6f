//! Sizes and durations as the API writes them.

use jiff::SignedDuration;

const UNITS: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A number of bytes with a capacity unit, such as `512`, `1.2Gi` or `24Ki`: rounded up to two digits below ten and
/// to whole units above, as `du -h` does, so that what is shown always suffices.
pub(super) fn bytes(bytes: u64) -> String {
    let mut unit = 1_u128;
    let exact = u128::from(bytes);
    if exact < 1024 {
        return exact.to_string();
    }
    for name in UNITS {
        unit *= 1024;
        let tenths = (exact * 10).div_ceil(unit);
        if tenths < 100 && !tenths.is_multiple_of(10) {
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
        let whole = exact.div_ceil(unit);
        if whole < 1024 {
            return format!("{whole}{name}");
        }
    }
    // Not reached: u64 ends at 16Ei.
    format!("{exact}")
}

/// A duration in Go's form, rounded to whole seconds, such as `1h0m5s`; a negative one is `0s`.
pub(super) fn duration(duration: SignedDuration) -> String {
    let millis = duration.as_millis().max(0);
    let seconds = (millis + 500) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_two_digits() {
        let table = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1025, "1.1Ki"),
            (24 * 1024, "24Ki"),
            (24 * 1024 + 1, "25Ki"),
            (10 * 1024 - 1, "10Ki"),
            (1024 * 1024 - 1, "1Mi"),
            (1_288_490_189, "1.3Gi"),
            (1_288_490_188, "1.2Gi"),
            (u64::MAX, "16Ei"),
        ];
        for (number, text) in table {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn durations_have_the_form_of_go() {
        let table = [
            (-5_000, "0s"),
            (499, "0s"),
            (500, "1s"),
            (90_000, "1m30s"),
            (60_000, "1m0s"),
            (3_605_000, "1h0m5s"),
            (90_000_000, "25h0m0s"),
        ];
        for (millis, text) in table {
            assert_eq!(duration(SignedDuration::from_millis(millis)), text);
        }
    }
}
