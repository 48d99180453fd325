//! The preferences of a request: `Prefer` (RFC 7240).
//!
//! ```text
//! Prefer: respond-async, wait=10; note="a, b", handling=strict
//! ```
//!
//! Unknown preferences and preferences with invalid values are ignored, as the RFC requires. Of several with one name the
//! first counts.

use std::time::Duration;

/// Share of the time of a request that `wait=N` may use. The rest is for upload and answer.
pub const WAIT_SHARE: f64 = 0.75;

/// The preferences that the service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preferences {
    /// `respond-async`: the caller can do with a job instead of the proof.
    pub respond_async: bool,
    /// `wait=N`: the caller waits this long for the proof.
    pub wait: Option<Duration>,
}

impl Preferences {
    /// Parses the values of every `Prefer` header.
    #[must_use]
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut preferences = Self::default();
        let mut seen = Vec::new();
        for preference in values.into_iter().flat_map(|value| split(value, ',')) {
            // Parameters follow the preference. None of the known preferences has any.
            let (name, value) = match split(preference, ';').first() {
                Some(first) => name_and_value(first),
                None => continue,
            };
            if seen.contains(&name) {
                continue;
            }
            match name.as_str() {
                "respond-async" => preferences.respond_async = value.is_empty(),
                "wait" => preferences.wait = seconds(&value),
                _ => continue,
            }
            seen.push(name);
        }
        preferences
    }

    /// Whether the caller asks for a job.
    #[must_use]
    pub fn wants_a_job(self) -> bool {
        self.respond_async || self.wait.is_some()
    }
}

/// The parts between separators outside of quoted strings.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if c == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The name in lower case and the value without quotes; a preference without a value has an empty one.
fn name_and_value(preference: &str) -> (String, String) {
    let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = match quoted {
        Some(quoted) => unescaped(quoted),
        None => value.to_owned(),
    };
    (name.trim().to_ascii_lowercase(), value)
}

fn unescaped(quoted: &str) -> String {
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

/// A whole number of seconds. One that is too large for the type is still a number.
fn seconds(value: &str) -> Option<Duration> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(values: &[&'static str]) -> (bool, Option<u64>) {
        let Preferences { respond_async, wait } = Preferences::of(values.iter().copied());
        (respond_async, wait.map(|wait| wait.as_secs()))
    }

    #[test]
    fn known_preferences_are_read_and_others_ignored() {
        for (values, respond_async, wait) in [
            (&["respond-async"][..], true, None),
            (&["Respond-Async , WAIT = 10"], true, Some(10)),
            (&["respond-async", "wait=10"], true, Some(10)),
            (&["return=minimal", "wait=\"5\"; x=y"], false, Some(5)),
            (&["handling=strict, , ;, =, wait=2"], false, Some(2)),
            (&["respond-async=\"\"; a=\"b\""], true, None),
            (&[""], false, None),
            (&[], false, None),
        ] {
            assert_eq!(parsed(values), (respond_async, wait), "{values:?}");
        }
    }

    #[test]
    fn the_first_of_several_counts() {
        assert_eq!(parsed(&["wait=3, wait=4"]), (false, Some(3)));
        assert_eq!(parsed(&["wait=soon", "wait=4"]), (false, None));
    }

    #[test]
    fn invalid_values_are_ignored() {
        for value in ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "wait=\"1", "respond-async=no"] {
            assert_eq!(parsed(&[value]), (false, None), "{value}");
        }
        assert_eq!(parsed(&["wait=99999999999999999999999"]), (false, Some(u64::from(u32::MAX))));
    }

    #[test]
    fn separators_in_quoted_strings_separate_nothing() {
        assert_eq!(parsed(&["note=\"a, wait=1; respond-async\", wait=7"]), (false, Some(7)));
        assert_eq!(parsed(&["note=\"a\\\", wait=1\", respond-async"]), (true, None));
        assert_eq!(parsed(&["wait=5; note=\"x, respond-async\""]), (false, Some(5)));
    }
}
