//! Words that the project has replaced by plainer ones: no file but the changelog contains them.
//!
//! A reader for whom English is a second language must understand each sentence at first reading, and one thing has
//! one name everywhere. [`vocabulary`] lists the words, their replacements and the legitimate uses.
//!
//! File names count too. Identifiers are split into their words, so `artifact` is found in `find_artifact` and in
//! `ArtifactName`.

mod vocabulary;

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::bail;

use super::{
    Outcome,
    files::{self, TextFile},
};
use vocabulary::{ALLOWED, Allowed, REPLACED, Replaced};

/// Files that may contain every word: a changelog also describes earlier names, and the licences are not our text.
const EXEMPT: [&str; 4] =
    ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "xtask/src/check/plain_words/vocabulary.rs"];

/// Characters that may separate the words of a phrase: blanks, and what begins a line of a comment.
const SEPARATORS: &str = " \t\n_-/!*#'’";

/// The check.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let hits = find(&files::texts(root)?, &REPLACED, &ALLOWED);
    if hits.is_empty() { Ok(Outcome::Passed) } else { bail!("{}", report(&hits)) }
}

/// A use of a replaced word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hit {
    pattern: &'static str,
    instead: &'static str,
    file: String,
    /// Counted from 1; `None` for a word in the file's name.
    line: Option<usize>,
}

fn find(files: &[TextFile], replaced: &[Replaced], allowed: &[Allowed]) -> Vec<Hit> {
    let mut hits = Vec::new();
    let is_checked = |file: &&TextFile| !file.is_generated() && !EXEMPT.contains(&file.name.as_str());
    for file in files.iter().filter(is_checked) {
        let (words, name_words) = (words(&file.text), words(&file.name));
        let lines: Vec<&str> = file.text.lines().collect();
        for Replaced { patterns, instead } in replaced {
            for pattern in *patterns {
                let found = match pattern.strip_prefix('`') {
                    Some(code) => code_lines(&lines, code),
                    None => phrase_lines(&words, pattern),
                };
                let in_name = !phrase_lines(&name_words, pattern).is_empty();
                let uses = in_name.then_some(None).into_iter().chain(found.into_iter().map(Some));
                let is_allowed = |line: &Option<usize>| {
                    let text = line.map_or(file.name.as_str(), |line| lines[line - 1]);
                    allowed.iter().any(|allowed| allowed.covers(pattern, &file.name, text))
                };
                let hit = |line| Hit { pattern, instead, file: file.name.clone(), line };
                hits.extend(uses.filter(|line| !is_allowed(line)).map(hit));
            }
        }
    }
    hits
}

impl Allowed {
    fn covers(&self, pattern: &str, file: &str, line: &str) -> bool {
        self.patterns.contains(&pattern) && file.starts_with(self.path) && line.contains(self.containing)
    }
}

/// A word in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    text: String,
    line: usize,
    /// Whether only [`SEPARATORS`], or nothing, separates it from the word before.
    follows: bool,
}

/// The words of a text. `camelCase` and `snake_case` are two words each.
fn words(text: &str) -> Vec<Word> {
    // A name, not two words.
    let text = text.replace("GitHub", "Github");
    let mut words: Vec<Word> = Vec::new();
    let (mut line, mut follows, mut is_inside, mut was_lower) = (1, false, false, false);
    for c in text.chars() {
        if c.is_alphabetic() {
            let begins = !is_inside || (was_lower && c.is_uppercase());
            if begins {
                words.push(Word { text: String::new(), line, follows });
                follows = true;
            }
            if let Some(word) = words.last_mut() {
                word.text.extend(c.to_lowercase());
            }
        } else {
            follows &= SEPARATORS.contains(c);
            line += usize::from(c == '\n');
        }
        (is_inside, was_lower) = (c.is_alphabetic(), c.is_lowercase());
    }
    words
}

/// Lines on which the words of a phrase begin.
fn phrase_lines(words: &[Word], phrase: &str) -> Vec<usize> {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    let is_phrase = |window: &&[Word]| {
        window
            .iter()
            .zip(&phrase)
            .enumerate()
            .all(|(i, (word, expected))| word.text == *expected && (i == 0 || word.follows))
    };
    let mut lines: Vec<usize> =
        words.windows(phrase.len()).filter(is_phrase).map(|window| window[0].line).collect();
    lines.dedup();
    lines
}

/// Lines that contain a piece of code exactly, not as part of a longer identifier.
fn code_lines(lines: &[&str], code: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let contains = |line: &str| {
        line.match_indices(code).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_some_and(is_part) && code.starts_with(is_part);
            let after =
                line[at + code.len()..].chars().next().is_some_and(is_part) && code.ends_with(is_part);
            !before && !after
        })
    };
    let numbered = lines.iter().enumerate().filter(|(_, line)| contains(line));
    numbered.map(|(i, _)| i + 1).collect()
}

/// All hits, word by word.
fn report(hits: &[Hit]) -> String {
    let mut by_word: BTreeMap<&str, Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        by_word.entry(hit.pattern.trim_start_matches('`')).or_default().push(hit);
    }
    let mut report = String::new();
    for (word, hits) in by_word {
        // Writing to a string does not fail.
        let _ = writeln!(report, "`{word}`, {} uses; write instead: {}", hits.len(), hits[0].instead);
        for Hit { file, line, .. } in hits {
            let line = line.map_or_else(|| " (the file's name)".to_owned(), |line| format!(":{line}"));
            let _ = writeln!(report, "  {file}{line}");
        }
    }
    let _ = write!(report, "{} uses to change", hits.len());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_WORDS: [Replaced; 2] = [
        Replaced { patterns: &["quux", "went astray"], instead: "reported; cancelled" },
        Replaced { patterns: &["`--line", "`struct Gone"], instead: "others" },
    ];

    /// The patterns that a text contains, each with its line.
    fn found(text: &str) -> Vec<(&'static str, usize)> {
        let file = TextFile { name: "a.rs".to_owned(), text: text.to_owned() };
        find(&[file], &TEST_WORDS, &[]).iter().map(|hit| (hit.pattern, hit.line.unwrap())).collect()
    }

    #[test]
    fn words_are_found_inside_identifiers_and_alone() {
        for text in ["It is quux.", "fn find_quux()", "struct QuuxName", "QUUX", "as-quux"] {
            assert_eq!(found(text), [("quux", 1)], "{text}");
        }
        for text in ["squuxx", "unquux", "requux_"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn phrases_may_wrap_but_not_cross_a_sentence() {
        for text in ["went astray", "WentAstray", "went_astray", "/// is went\n/// astray"] {
            assert_eq!(found(text), [("went astray", 1)], "{text}");
        }
        for text in ["It went. Astray are others.", "went, astray", "astray went"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn code_is_found_only_as_it_is_written() {
        assert_eq!(found("a\n`--line N`"), [("`--line", 2)]);
        assert_eq!(found("pub struct Gone {"), [("`struct Gone", 1)]);
        for text in ["--job-line", "--lined", "struct Goner", "a struct gone"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn an_allowed_use_is_no_hit() {
        let allowed =
            [Allowed { patterns: &["quux"], path: "docs/", containing: "bb", reason: "a quotation" }];
        let count = |name: &str, text: &str| {
            let file = TextFile { name: name.to_owned(), text: text.to_owned() };
            find(&[file], &TEST_WORDS, &allowed).len()
        };
        assert_eq!(count("docs/A.md", "bb quux"), 0);
        assert_eq!(count("docs/A.md", "quux"), 1);
        assert_eq!(count("README.md", "bb quux"), 1);
        assert_eq!(count("CHANGELOG.md", "quux"), 0);
    }

    #[test]
    fn hits_are_grouped_by_word() {
        let file = TextFile { name: "quux.rs".to_owned(), text: "quux\nold quux".to_owned() };
        let expected = "`quux`, 3 uses; write instead: reported; cancelled\n  quux.rs (the file's name)\n  \
             quux.rs:1\n  quux.rs:2\n3 uses to change";
        assert_eq!(report(&find(&[file], &TEST_WORDS, &[])), expected);
    }
}
