//! Numbers as people read them. Pure.

use std::time::Duration;

/// Fraction digits that are shown.
const DIGITS: usize = 6;

/// `850 ms`, `12 s`, `5 min`, `3 h`, `2 d`.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How long ago `since` was at `now`, both unix milliseconds.
pub(super) fn ago(since: u64, now: u64) -> String {
    span(Duration::from_millis(now.saturating_sub(since)))
}

/// A decimal text without the digits that nobody reads.
pub(super) fn short(decimal: &str) -> String {
    match decimal.split_once('.') {
        Some((whole, fraction)) if fraction.len() > DIGITS => format!("{whole}.{}…", &fraction[..DIGITS]),
        _ => decimal.to_owned(),
    }
}

/// Wei as a decimal number of whole coins, or of Gwei with `decimals` 9.
pub(super) fn wei(amount: u128, decimals: u32) -> String {
    let one = 10u128.pow(decimals);
    let fraction = format!("{:0width$}", amount % one, width = decimals as usize);
    match fraction.trim_end_matches('0') {
        "" => (amount / one).to_string(),
        digits => short(&format!("{}.{digits}", amount / one)),
    }
}

/// Bytes as a number of MiB or GiB.
pub(super) fn bytes(count: u64) -> String {
    const MIB: u64 = 1 << 20;
    if count >= 10 << 30 { format!("{} GiB", count >> 30) } else { format!("{} MiB", count.div_ceil(MIB)) }
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_unit() {
        let shown = |millis| span(Duration::from_millis(millis));
        assert_eq!(
            [0, 999, 1_000, 119_999, 120_000, 7_200_000, 172_800_000].map(shown),
            ["0 ms", "999 ms", "1 s", "119 s", "2 min", "2 h", "2 d"]
        );
        assert_eq!(ago(2_000, 1_000), "0 ms", "the clocks of two hosts");
    }

    #[test]
    fn amounts_lose_only_digits_that_nobody_reads() {
        assert_eq!(wei(1_500_000_000_000_000_000, 18), "1.5");
        assert_eq!(wei(1, 18), "0.000000…");
        assert_eq!(wei(7_000_000_000, 9), "7");
        assert_eq!(short("12.1234567"), "12.123456…");
        assert_eq!(short("12.123456"), "12.123456");
    }

    #[test]
    fn memory_is_never_shown_as_none() {
        assert_eq!([1, 4 << 20, 12 << 30].map(bytes), ["1 MiB", "4 MiB", "12 GiB"]);
        assert_eq!([count(1, "job"), count(0, "job")], ["1 job", "0 jobs"]);
    }
}
