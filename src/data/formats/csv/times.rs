//! Times as they stand in tables: numbers, dates, dates with times of day.

/// A time that others can be compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeKey {
    /// A number.
    Number(f64),
    /// A date, maybe with a time of day: nanoseconds since a day long ago.
    Date(i128),
    /// A date of which it is open what is the day and what the month.
    Ambiguous,
}

impl TimeKey {
    /// Whether this time comes after another; `None` if that is open.
    pub(super) fn is_after(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(a > b),
            (Self::Date(a), Self::Date(b)) => Some(a > b),
            _ => None,
        }
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads a time; `None` if it is none.
pub(super) fn parse(cell: &[u8]) -> Option<TimeKey> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(TimeKey::Number(number));
    }
    date(text)
}

/// Year, month, day, hour, minute, second, in this order or with the year behind; letters that are no month's name
/// count for nothing, as in `1970 Q1` or `2021-05-01T00:00:00Z`.
fn date(text: &str) -> Option<TimeKey> {
    let bytes = text.as_bytes();
    if bytes.len() > 48 || !bytes.first()?.is_ascii_alphanumeric() {
        return None;
    }
    let mut groups = [0i128; 6];
    let mut digits = [0usize; 6];
    let (mut count, mut at, mut nanos, mut named) = (0, 0, 0i128, None);
    let mut offset = 0;
    while at < bytes.len() {
        let from = at;
        if bytes[at].is_ascii_digit() {
            while at < bytes.len() && bytes[at].is_ascii_digit() {
                at += 1;
            }
            if at - from > 9 {
                return None;
            }
            let number: i128 = text[from..at].parse().ok()?;
            let sign = from.checked_sub(1).map(|before| bytes[before]);
            if count >= 5 && matches!(sign, Some(b'.' | b',')) && nanos == 0 {
                nanos = number * 10i128.pow(9 - (at - from) as u32);
            } else if count >= 5 && matches!(sign, Some(b'+' | b'-')) {
                let minutes = match text[at..].strip_prefix(':') {
                    Some(rest) => number * 60 + rest.get(..2)?.parse::<i128>().ok()?,
                    None if at - from == 4 => number / 100 * 60 + number % 100,
                    None => number * 60,
                };
                offset = if sign == Some(b'-') { -minutes } else { minutes };
                break;
            } else if count < 6 {
                (groups[count], digits[count]) = (number, at - from);
                count += 1;
            } else {
                return None;
            }
        } else if bytes[at].is_ascii_alphabetic() {
            while at < bytes.len() && bytes[at].is_ascii_alphabetic() {
                at += 1;
            }
            let word = text[from..at].to_ascii_lowercase();
            let month = MONTHS.iter().position(|month| word.starts_with(month));
            match month {
                Some(month) if word.len() == 3 || word.len() > 3 && is_month(&word) => {
                    named = Some(month as i128 + 1);
                }
                _ if matches!(&word[..], "q" | "t" | "z" | "utc" | "w" | "am" | "gmt") => {}
                _ => return None,
            }
        } else if matches!(bytes[at], b'-' | b'/' | b'.' | b':' | b' ' | b',' | b'+') {
            at += 1;
        } else {
            return None;
        }
    }
    if let Some(month) = named {
        // `1991 Jul`, `Jul 1991`, `4 Jul 1991`, `Jul 4 1991`.
        let year = digits[..count].iter().position(|digits| *digits == 4)?;
        let day = if count > 1 && year == 0 {
            groups[1]
        } else if year == 1 {
            groups[0]
        } else {
            1
        };
        return Some(TimeKey::Date(seconds([groups[year], month, day, 0, 0, 0]) * NANOS));
    }
    if count >= 2 && digits[0] == 4 {
        let time = seconds(groups) - offset * 60;
        return Some(TimeKey::Date(time * NANOS + nanos));
    }
    (count >= 3 && digits[2] == 4).then_some(TimeKey::Ambiguous)
}

const NANOS: i128 = 1_000_000_000;

fn is_month(word: &str) -> bool {
    [
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "sept",
        "september",
        "october",
        "november",
        "december",
    ]
    .contains(&word)
}

/// Seconds of a calendar in which every month has 31 days and every year 372: their order is that of time but for
/// offsets of time zones at the end of shorter months.
fn seconds([year, month, day, hour, minute, second]: [i128; 6]) -> i128 {
    let days = (year * 12 + month) * 31 + day;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_times_are_after_earlier_ones() {
        for (earlier, later) in [
            ("1", "2.5"),
            ("1949-12", "1950-01"),
            ("1991 Jul", "1991 Aug"),
            ("1970 Q1", "1970 Q2"),
            ("2021-05-01 00:00:00+00:00", "2021-05-01 00:30:00+00:00"),
            ("2021-05-01T10:00:00+02:00", "2021-05-01T10:00:00Z"),
            ("1970-01-01 00:04:40.000", "1970-01-01 00:04:40.015"),
            ("4 Jul 1991", "1 Aug 1991"),
        ] {
            let [a, b] = [earlier, later].map(|text| parse(text.as_bytes()).unwrap());
            assert_eq!(b.is_after(a), Some(true), "{earlier} {later}");
            assert_eq!(a.is_after(b), Some(false), "{earlier} {later}");
            assert_eq!(a.is_after(a), Some(false), "{earlier}");
        }
        assert_eq!(parse(b"01/02/2020"), Some(TimeKey::Ambiguous));
        for text in ["", "walking", "a1", "x-2", "-", "99999999999-1", "1e999"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
