//! What a tool printed, for people: without paths of the machine, colours and control characters.

use std::path::Path;

use super::{Tool, ToolOutput};

/// The longest message. The first lines of a compiler matter most.
const MESSAGE_MAX_CHARS: usize = 4_000;

/// The message of a tool that failed: standard error, then standard output. circom uses both.
pub(super) fn of(printed: &ToolOutput, folder: &Path, tool: &Tool) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = format!("{}\n{}", text(&printed.stderr), text(&printed.stdout));
    // The folders of the program and its scripts: their names may have blanks, which otherwise end a path.
    let folders = [tool.program.as_path()]
        .into_iter()
        .chain(tool.arguments.iter().map(Path::new))
        .filter(|path| path.is_absolute())
        .filter_map(Path::parent);
    let known: Vec<String> = folders.filter(|path| path.parent().is_some()).map(shown).collect();
    without_paths(&printed, &shown(folder), &known)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Removes the tool's folder from paths, so that those inside it become relative, and replaces every other absolute path,
/// and every relative one that leads upwards.
fn without_paths(text: &str, folder: &str, known: &[String]) -> String {
    let mut text = without_controls(text).replace(&format!("{folder}/"), "").replace(folder, ".");
    for path in known {
        text = text.replace(path, "/…");
    }
    let mut cleaned = String::with_capacity(text.len());
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push('\n');
        }
        clean_line(line, &mut cleaned);
    }
    match cleaned.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &cleaned[..end]),
        None if cleaned.is_empty() => String::from("it printed nothing"),
        None => cleaned,
    }
}

fn clean_line(line: &str, cleaned: &mut String) {
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_part_of_path(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end.max(first.len_utf8()));
        // The sentence that a path ends is not part of it.
        let path = word.trim_end_matches('.');
        if is_foreign(path) {
            cleaned.push('…');
            cleaned.push_str(&word[path.len()..]);
        } else {
            cleaned.push_str(word);
        }
        rest = after;
    }
}

/// Whether a character may be in a path. Others begin and end one.
fn is_part_of_path(c: char) -> bool {
    c.is_alphanumeric() || "/._-+@~%#…".contains(c)
}

/// Whether a word is a path outside the tool's folder. A fraction such as `min/max` is none, nor is a single slash.
fn is_foreign(word: &str) -> bool {
    let is_absolute = word.len() > 1 && (word.starts_with('/') || word.starts_with("~/"));
    is_absolute || word.split('/').any(|part| part == "..") && word.contains('/')
}

/// Removes escape sequences and other control characters; line ends and tabs stay.
fn without_controls(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' && characters.peek() == Some(&'[') {
            characters.next();
            // Parameters, then one final letter.
            for c in characters.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        } else if !c.is_control() || c == '\n' || c == '\t' {
            cleaned.push(c);
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        without_paths(text, "/var/spool/7/a", &[String::from("/opt/my tools")])
    }

    #[test]
    fn paths_of_the_machine_are_removed() {
        for (text, expected) in [
            ("error in /var/spool/7/a/src/main.nr:3:4", "error in src/main.nr:3:4"),
            ("in /var/spool/7/a.", "in .."),
            ("at run (/home/ann/.config/key.pem:1:2)", "at run (…:1:2)"),
            ("file:///etc/passwd", "file:…"),
            ("at /opt/my tools/x.mjs.", "at …."),
            ("../../etc/shadow and a/../../b", "… and …"),
            ("~/secret", "…"),
            ("KEY=/run/secrets/key", "KEY=…"),
            ("\"/run/secrets/key\"", "\"…\""),
            ("min/max, a / b, src/x.nr, 1/2", "min/max, a / b, src/x.nr, 1/2"),
            ("\u{1b}[1m\u{1b}[38;5;9merror[P1006]\u{1b}[0m: no\u{7} file", "error[P1006]: no file"),
            ("\n\n  one\n\n  two  \n", "  one\n  two"),
            ("", "it printed nothing"),
        ] {
            assert_eq!(cleaned(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let message = cleaned(&"é".repeat(10_000));
        assert_eq!(message.chars().count(), MESSAGE_MAX_CHARS + 1);
    }
}
