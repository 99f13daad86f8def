//! Names of models in the paths of URLs, where other characters than a few are escaped.

use std::fmt::Write as _;

/// A name as a path has it: with `%` and two hexadecimal digits for each byte of what is no letter, digit, `.`, `_`, `-`
/// or `~`.
pub(super) fn escaped(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Into a text, which takes everything.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// The name that a part of a path stands for; `None` for what is escaped wrongly, or is no UTF-8.
pub(super) fn unescaped(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push((16 * digit(digits[0])? + digit(digits[1])?) as u8);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_paths() {
        for (name, path) in [
            ("0001", "0001"),
            ("my run", "my%20run"),
            ("größe/2", "gr%C3%B6%C3%9Fe%2F2"),
            ("100%", "100%25"),
        ] {
            assert_eq!((escaped(name).as_str(), unescaped(path).as_deref()), (path, Some(name)));
        }
        assert_eq!(unescaped("%67%c3%B6").as_deref(), Some("gö"));
        for wrong in ["%", "a%2", "%zz", "%+1", "%ff"] {
            assert_eq!(unescaped(wrong), None, "{wrong}");
        }
    }
}
