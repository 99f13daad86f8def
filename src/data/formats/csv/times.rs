//! Times as they stand in tables: numbers, dates, dates with times of day.

/// A time that others can be compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeKey {
    /// A whole number, such as nanoseconds since 1970.
    Whole(i128),
    /// Any other number.
    Number(f64),
    /// A date, maybe with a time of day: nanoseconds since a day long ago, if the day is before the month and if it is
    /// behind it. The two differ where the year is last; one is `None` if the date has no such month or day.
    Date([Option<i128>; 2]),
}

impl TimeKey {
    /// Whether this time comes after another, if days are before months and if they are behind them; `None` for a
    /// number and a date.
    pub(super) fn is_after(self, other: Self) -> Option<[bool; 2]> {
        let number = |time| match time {
            Self::Whole(number) => Some(number as f64),
            Self::Number(number) => Some(number),
            Self::Date(_) => None,
        };
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some([a > b; 2]),
            (Self::Date(a), Self::Date(b)) => Some([a[0] > b[0], a[1] > b[1]]),
            _ => Some([number(self)? > number(other)?; 2]),
        }
    }

    /// Whether there is such a time, if days are before months and if they are behind them.
    fn is_possible(self) -> [bool; 2] {
        match self {
            Self::Date(keys) => keys.map(|key| key.is_some()),
            Self::Whole(_) | Self::Number(_) => [true; 2],
        }
    }
}

/// What is wrong with a time of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeFault {
    /// It does not come after the time before.
    Order,
    /// Its day is before its month, or behind it, and it is the other way round in times before.
    Mixed,
}

/// The order of day and month in a column of times, as far as it is known.
#[derive(Debug)]
pub(super) struct DateOrder<E> {
    is_ruled_out: [bool; 2],
    /// What is wrong with times if the order is the one that was ruled out first.
    fault: Option<E>,
}

impl<E> DateOrder<E> {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { is_ruled_out: [false; 2], fault: None }
    }

    /// Looks at a time: a number above 12 says which of the two is the day, and times increase.
    ///
    /// - `is_after`: whether it comes after the time before, in each order
    /// - `error`: makes an error of what is wrong with the time
    ///
    /// # Errors
    /// What is wrong in either order of day and month.
    pub(super) fn check(
        &mut self,
        time: TimeKey,
        is_after: [bool; 2],
        error: impl Fn(TimeFault) -> E,
    ) -> Result<(), E> {
        let possible = time.is_possible();
        let mut fault = None;
        for order in 0..2 {
            if self.is_ruled_out[order] || possible[order] && is_after[order] {
                continue;
            }
            self.is_ruled_out[order] = true;
            if possible[order] {
                fault = Some(error(TimeFault::Order));
            }
        }
        if self.is_ruled_out == [true; 2] {
            let earlier = || self.fault.take().unwrap_or_else(|| error(TimeFault::Mixed));
            return Err(fault.unwrap_or_else(earlier));
        }
        self.fault = self.fault.take().or(fault);
        Ok(())
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads a time; `None` if it is none.
pub(super) fn parse(cell: &[u8]) -> Option<TimeKey> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    if let Ok(number) = text.parse::<i128>() {
        return Some(TimeKey::Whole(number));
    }
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(TimeKey::Number(number));
    }
    date(text)
}

/// Year, month, day, hour, minute, second, in this order or with the year behind; letters that are no month's name
/// count for nothing, as in `1970 Q1` or `2021-05-01T00:00:00Z`, but for `AM` and `PM` behind an hour.
fn date(text: &str) -> Option<TimeKey> {
    let bytes = text.as_bytes();
    if bytes.len() > 48 || !bytes.first()?.is_ascii_alphanumeric() {
        return None;
    }
    let mut groups = [0i128; 6];
    let mut digits = [0usize; 6];
    let (mut count, mut at, mut nanos, mut named) = (0, 0, 0i128, None);
    let (mut offset, mut is_afternoon) = (0, None);
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
                _ if matches!(&word[..], "am" | "pm") => is_afternoon = Some(word == "pm"),
                _ if matches!(&word[..], "q" | "t" | "z" | "utc" | "w" | "gmt") => {}
                _ => return None,
            }
        } else if matches!(bytes[at], b'-' | b'/' | b'.' | b':' | b' ' | b',' | b'+') {
            at += 1;
        } else {
            return None;
        }
    }
    let [hour, minute, second] = match named {
        // The month is no number.
        Some(_) => [groups[2], groups[3], groups[4]],
        None => [groups[3], groups[4], groups[5]],
    };
    let hour = match is_afternoon {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(is_afternoon) => hour % 12 + 12 * i128::from(is_afternoon),
        None => hour,
    };
    let key = |[year, month, day]: [i128; 3]| {
        let time = seconds([year, month, day, hour, minute, second]) - offset * 60;
        time * NANOS + nanos
    };
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
        return Some(TimeKey::Date([Some(key([groups[year], month, day])); 2]));
    }
    if count >= 2 && digits[0] == 4 {
        return Some(TimeKey::Date([Some(key([groups[0], groups[1], groups[2]])); 2]));
    }
    if count < 3 || digits[2] != 4 {
        return None;
    }
    let of = |month: i128, day: i128| {
        let is_one = (1..=12).contains(&month) && (1..=31).contains(&day);
        is_one.then(|| key([groups[2], month, day]))
    };
    let keys = [of(groups[1], groups[0]), of(groups[0], groups[1])];
    (keys != [None; 2]).then_some(TimeKey::Date(keys))
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
            ("4 Jul 1991 9:59", "4 Jul 1991 10:00"),
            ("1 Jan 2020 12:59 AM", "1 Jan 2020 1:00 AM"),
            ("2020-01-01 12:00 AM", "2020-01-01 1:00 AM"),
            ("2020-01-01 11:59:59 AM", "2020-01-01 12:00:00 PM"),
            ("2020-01-01 12:30 pm", "2020-01-01 1:00 pm"),
            ("1577836800000000000", "1577836800000000001"),
            ("1", "1577836800000000001"),
            ("0.5", "1"),
        ] {
            let [a, b] = [earlier, later].map(|text| parse(text.as_bytes()).unwrap());
            assert_eq!(b.is_after(a), Some([true; 2]), "{earlier} {later}");
            assert_eq!(a.is_after(b), Some([false; 2]), "{earlier} {later}");
            assert_eq!(a.is_after(a), Some([false; 2]), "{earlier}");
        }
        for text in [
            "",
            "walking",
            "a1",
            "x-2",
            "-",
            "99999999999-1",
            "1e999",
            "32/01/2020",
            "13/13/2020",
            "2020-01-01 13:00 PM",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
    /// The place of the time at which a column is refused, and why.
    fn fault(column: &[&str]) -> Option<(usize, TimeFault)> {
        let mut order = DateOrder::new();
        let mut before: Option<TimeKey> = None;
        let looked = column.iter().enumerate().try_for_each(|(place, text)| {
            let time = parse(text.as_bytes()).unwrap();
            let is_after = before.replace(time).map_or([true; 2], |b| time.is_after(b).unwrap());
            order.check(time, is_after, |fault| (place, fault))
        });
        looked.err()
    }

    #[test]
    fn a_column_says_whether_the_day_is_first() {
        use TimeFault::{Mixed, Order};
        for (column, expected) in [
            (&["27/03/2020", "28/03/2020", "01/04/2020"][..], None),
            (&["03/27/2020", "03/28/2020", "04/01/2020"], None),
            // Either way they increase; then the later ones say what the first are.
            (&["01/02/2020", "02/03/2020"], None),
            (&["01/02/2020", "01/03/2020", "02/03/2020"], None),
            (&["12/01/2020", "01/02/2020", "13/02/2020"], None),
            (&["28/03/2020", "27/03/2020"], Some((1, Order))),
            (&["03/28/2020", "03/27/2020"], Some((1, Order))),
            (&["28/03/2020", "28/3/2020"], Some((1, Order))),
            (&["01/02/2020", "01/01/2020"], Some((1, Order))),
            // Backwards if the day is first, which only the last of them says.
            (&["01/03/2020", "02/01/2020", "13/02/2020"], Some((1, Order))),
            (&["28/03/2020", "03/29/2020"], Some((1, Mixed))),
            (&["1/3/2020 12:00 AM", "1/3/2020 1:00 AM", "13/3/2020 1:00 PM"], None),
        ] {
            assert_eq!(fault(column), expected, "{column:?}");
        }
        let [number, date] = [b"5".as_slice(), b"2020-01-01"].map(|text| parse(text).unwrap());
        assert_eq!((number.is_after(date), date.is_after(number)), (None, None));
    }
}
