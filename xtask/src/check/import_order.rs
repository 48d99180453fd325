//! Imports between the modules of a crate: they run down the list that opens its `lib.rs`, never up.
//!
//! A crate takes part if its `lib.rs` contains the sentence [`SENTENCE`]. The bullets after it name the crate's
//! modules, top first. A module may import only modules further down. Modules in one bullet do not import each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Outcome,
    files::{self, TextFile},
    rust_tokens::{Token, tokens},
};

/// Announces the list of modules.
const SENTENCE: &str = "Imports run down this list only";

/// The check.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    files::passed_unless(&violations(&files::texts(root)?))
}

/// Violations of every crate that has a list.
fn violations(files: &[TextFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for lib in files {
        if let Some(source_dir) = lib.name.strip_suffix("lib.rs").filter(|dir| dir.ends_with("src/"))
            && lib.text.contains(SENTENCE)
        {
            violations.extend(crate_violations(source_dir, lib, files));
        }
    }
    violations
}

fn crate_violations(source_dir: &str, lib: &TextFile, files: &[TextFile]) -> Vec<String> {
    let order = Order::read(&lib.text);
    let mut sources: Vec<Source<'_>> =
        files.iter().filter_map(|file| Source::read(source_dir, file)).collect();
    let test_only: BTreeSet<String> = sources.iter().flat_map(Source::test_only_modules).collect();
    sources.retain(|source| !source.is_in(&test_only));

    let mut violations = order.unlisted(lib);
    for source in &sources {
        let Some(own_rank) = source.path.first().and_then(|module| order.rank(module)) else { continue };
        for reference in &source.contents.references {
            let Some(target) = order.module_of(&reference.name) else { continue };
            let Some(rank) = order.rank(target).filter(|rank| *rank <= own_rank) else { continue };
            let own = &source.path[0];
            if target == own {
                continue;
            }
            let position = if rank == own_rank { "in the same line as" } else { "above" };
            violations.push(format!(
                "{}:{}: `{own}` imports `{target}`, which {} lists {position} `{own}`",
                source.name, reference.line, lib.name
            ));
        }
    }
    violations
}

/// The list of modules in a `lib.rs`.
#[derive(Debug, Default)]
struct Order {
    /// Each module with the number of its bullet.
    ranks: BTreeMap<String, usize>,
    /// Items that `lib.rs` re-exports, each with its module.
    reexports: BTreeMap<String, String>,
    /// Modules that `lib.rs` declares, each with its line. Without those of tests.
    declared: Vec<(String, usize)>,
}

impl Order {
    fn read(lib: &str) -> Self {
        let mut order = Self::default();
        for (rank, bullet) in bullets(lib).iter().enumerate() {
            // The names come before the first colon.
            let names = bullet.split(':').next().unwrap_or_default();
            for name in names.split("[`").skip(1).filter_map(|rest| rest.split_once("`]")) {
                order.ranks.insert(name.0.trim_start_matches("mod@").to_owned(), rank);
            }
        }
        let contents = Contents::read(&tokens(lib), 0);
        order.reexports = contents.reexports;
        order.declared = contents.declared;
        order
    }

    fn rank(&self, module: &str) -> Option<usize> {
        self.ranks.get(module).copied()
    }

    /// The module that a name at the crate's root belongs to.
    fn module_of<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.ranks.contains_key(name) { Some(name) } else { self.reexports.get(name).map(String::as_str) }
    }

    fn unlisted(&self, lib: &TextFile) -> Vec<String> {
        let missing = self.declared.iter().filter(|(name, _)| !self.ranks.contains_key(name));
        missing
            .map(|(name, line)| format!("{}:{line}: `{name}` is not in the list of modules", lib.name))
            .collect()
    }
}

/// The bullets after [`SENTENCE`], each as one line.
fn bullets(lib: &str) -> Vec<String> {
    let mut bullets: Vec<String> = Vec::new();
    let documentation = lib.lines().map_while(|line| line.strip_prefix("//!"));
    for line in documentation.skip_while(|line| !line.contains(SENTENCE)).skip(1) {
        match (line.strip_prefix(" - "), bullets.last_mut()) {
            (Some(bullet), _) => bullets.push(bullet.to_owned()),
            (None, Some(last)) if line.starts_with("   ") => last.push_str(line),
            (None, Some(_)) => break,
            (None, None) => {}
        }
    }
    bullets
}

/// A source file of the crate.
struct Source<'a> {
    name: &'a str,
    /// The module's path from the crate's root; empty for `lib.rs`.
    path: Vec<String>,
    contents: Contents,
}

impl<'a> Source<'a> {
    /// `None` for a file that is not part of the library, or only of its tests.
    fn read(source_dir: &str, file: &'a TextFile) -> Option<Self> {
        let inner = file.name.strip_prefix(source_dir)?.strip_suffix(".rs")?;
        let mut path: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if inner == "main" || path[0] == "bin" || path.iter().any(|part| part == "tests") {
            return None;
        }
        if path.last().is_some_and(|last| last == "mod") || inner == "lib" {
            path.pop();
        }
        let contents = Contents::read(&tokens(&file.text), path.len());
        Some(Self { name: &file.name, path, contents })
    }

    fn test_only_modules(&self) -> impl Iterator<Item = String> {
        self.contents
            .test_only
            .iter()
            .map(|name| [&self.path[..], std::slice::from_ref(name)].concat().join("::"))
    }

    fn is_in(&self, modules: &BTreeSet<String>) -> bool {
        (1..=self.path.len()).any(|length| modules.contains(&self.path[..length].join("::")))
    }
}

/// A name at the crate's root that a file refers to.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    name: String,
    line: usize,
}

/// The modules that one file declares and refers to.
#[derive(Debug, Default)]
struct Contents {
    references: Vec<Reference>,
    reexports: BTreeMap<String, String>,
    declared: Vec<(String, usize)>,
    /// Modules in files of their own that are compiled for tests only.
    test_only: Vec<String>,
}

impl Contents {
    /// Reads a file whose module is `depth` levels below the crate's root.
    fn read(tokens: &[Token<'_>], depth: usize) -> Self {
        let mut contents = Self::default();
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        // How many braces were open where each inline module began.
        let mut inline_modules: Vec<usize> = Vec::new();
        let mut braces = 0_usize;
        let mut at = 0;
        while at < tokens.len() {
            let before = if at == 0 { "" } else { text(at - 1) };
            match text(at) {
                "#" if is_test_attribute(&tokens[at..]) => {
                    if text(at + 1) == "!" {
                        return Self::default();
                    }
                    let item = after_attributes(tokens, at);
                    contents.test_only.extend(declared_module(&tokens[item..]).map(str::to_owned));
                    at = after_item(tokens, item);
                    continue;
                }
                "mod" if text(at + 2) == "{" => {
                    inline_modules.push(braces);
                    at += 2;
                    continue;
                }
                "mod" if text(at + 2) == ";" => {
                    contents.declared.push((text(at + 1).to_owned(), tokens[at].line));
                }
                "{" => braces += 1,
                "}" => {
                    braces = braces.saturating_sub(1);
                    inline_modules.pop_if(|opened| *opened == braces);
                }
                "use" if depth == 0 && inline_modules.is_empty() => {
                    read_reexports(tokens, at + 1, None, &mut contents.reexports);
                }
                "crate" if text(at + 1) == "::" && before != "in" => {
                    at = read_path(tokens, at + 2, 0, &mut contents.references);
                    continue;
                }
                "super" if text(at + 1) == "::" && !["in", "::"].contains(&before) => {
                    let depth = depth + inline_modules.len();
                    at = read_path(tokens, at, depth, &mut contents.references);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        contents
    }
}

/// Whether these tokens begin with `#[cfg(test)]`, or with another condition that names `test` and no `not`.
fn is_test_attribute(tokens: &[Token<'_>]) -> bool {
    let texts = tokens.iter().map(|token| token.text).skip(1);
    let mut texts = texts.skip_while(|text| *text == "!");
    if texts.next() != Some("[") || texts.next() != Some("cfg") {
        return false;
    }
    let condition: Vec<_> = texts.take_while(|text| *text != "]").collect();
    condition.contains(&"test") && !condition.contains(&"not")
}

/// The position after all attributes that begin at `at`.
fn after_attributes(tokens: &[Token<'_>], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        at += 1;
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.text {
                "[" => depth += 1,
                "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    at
}

/// The name of the module that an item declares in a file of its own.
fn declared_module<'a>(item: &[Token<'a>]) -> Option<&'a str> {
    let at = item.iter().take(5).position(|token| token.text == "mod")?;
    let (name, end) = (item.get(at + 1)?, item.get(at + 2)?);
    (end.text == ";").then_some(name.text)
}

/// The position after an item: after its `;` or its closing brace.
fn after_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            // The brace of what surrounds the item.
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Reads a path, or the braces of a `use`, that continues a module `depth` levels below the crate's root. Returns the
/// position after what was read.
fn read_path(tokens: &[Token<'_>], mut at: usize, mut depth: usize, found: &mut Vec<Reference>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "super" => depth = depth.saturating_sub(1),
            "self" | "::" => {}
            "{" => return each_in_braces(tokens, at, |at| read_path(tokens, at, depth, found)),
            name => {
                if depth == 0 && name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                    found.push(Reference { name: name.to_owned(), line: token.line });
                }
                return at + 1;
            }
        }
        at += 1;
    }
    at
}

/// Calls `read` at each element of a list in braces, and returns the position after the closing brace.
fn each_in_braces(tokens: &[Token<'_>], mut at: usize, mut read: impl FnMut(usize) -> usize) -> usize {
    at += 1;
    while tokens.get(at).is_some_and(|token| token.text != "}") {
        at = read(at);
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "," if depth == 0 => {
                    at += 1;
                    break;
                }
                "}" if depth == 0 => break,
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
        }
    }
    at + 1
}

/// Reads the names that a `use` of `lib.rs` brings to the crate's root, each with the module it comes from.
fn read_reexports(
    tokens: &[Token<'_>],
    mut at: usize,
    mut module: Option<String>,
    found: &mut BTreeMap<String, String>,
) -> usize {
    let mut last = String::new();
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" | "crate" | "self" | "as" => {}
            "{" => {
                return each_in_braces(tokens, at, |at| read_reexports(tokens, at, module.clone(), found));
            }
            ";" | "," | "}" => break,
            name => {
                name.clone_into(&mut last);
                module.get_or_insert_with(|| name.to_owned());
            }
        }
        at += 1;
    }
    found.extend(module.map(|module| (last, module)));
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! A crate.\n//!\n//! Imports run down this list only:\n//! - [`top`]: the first,\n//!   \
                       with [`a link`] in its text.\n//! - [`middle`], [`mod@beside`]: two.\n//! - [`bottom`]: last.\n\
                       //!\n//! - [`not_listed`]: another list.\n\
                       pub mod top;\nmod middle;\nmod beside;\nmod bottom;\n#[cfg(test)]\nmod helpers;\n\
                       pub use middle::{Inner as Middle, deep::Other};\npub use self::bottom::Bottom;\n";

    /// Violations of a crate with these files beside [`LIB`], as `FILE:LINE OWN TARGET`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let file = |name: &str, text: &str| TextFile { name: format!("c/src/{name}"), text: text.to_owned() };
        let files = files.iter().map(|(name, text)| file(name, text));
        let files: Vec<_> = std::iter::once(file("lib.rs", LIB)).chain(files).collect();
        let short = |violation: &String| {
            let mut parts = violation.split('`');
            let place = parts.next().unwrap().trim_start_matches("c/src/");
            let (own, target) = (parts.next().unwrap(), parts.nth(1).unwrap());
            format!("{} {own} {target}", place.split(": ").next().unwrap())
        };
        violations(&files).iter().map(short).collect()
    }

    #[test]
    fn imports_down_the_list_pass() {
        assert!(found(&[("top.rs", "use crate::{middle::X, bottom};\nuse super::beside;")]).is_empty());
        assert!(
            found(&[("middle/deep.rs", "use super::Y; use crate::middle::Z; use super::super::bottom;")])
                .is_empty()
        );
        assert!(
            found(&[("bottom.rs", "use other::top; pub(in crate::top) fn f() { unknown::top() }")])
                .is_empty()
        );
    }

    #[test]
    fn imports_up_the_list_are_violations() {
        assert_eq!(found(&[("bottom.rs", "\nuse crate::top::X;")]), ["bottom.rs:2 bottom top"]);
        assert_eq!(found(&[("bottom.rs", "fn f() { super::top::g() }")]), ["bottom.rs:1 bottom top"]);
        let nested = "use super::{Y, super::{bottom, top::Z}};";
        assert_eq!(found(&[("middle/deep.rs", nested)]), ["middle/deep.rs:1 middle top"]);
        let inline = "mod inner { use super::super::top; }\nuse crate::{\n    bottom,\n    top::{A, B},\n};";
        let expected = ["middle.rs:1 middle top", "middle.rs:4 middle top"];
        assert_eq!(found(&[("middle.rs", inline)]), expected);
    }

    #[test]
    fn modules_of_one_bullet_do_not_import_each_other() {
        let message = "c/src/middle.rs:1: `middle` imports `beside`, which c/src/lib.rs lists in the same line as `middle`";
        let lib = TextFile { name: "c/src/lib.rs".to_owned(), text: LIB.to_owned() };
        let middle = TextFile { name: "c/src/middle.rs".to_owned(), text: "use crate::beside;".to_owned() };
        assert_eq!(violations(&[lib, middle]), [message]);
    }

    #[test]
    fn items_that_lib_rs_re_exports_count_as_their_module() {
        assert_eq!(found(&[("bottom.rs", "use crate::Middle;")]), ["bottom.rs:1 bottom middle"]);
        assert_eq!(found(&[("bottom.rs", "use crate::Other;")]), ["bottom.rs:1 bottom middle"]);
        assert!(found(&[("top.rs", "use crate::{Bottom, Middle};")]).is_empty());
    }

    #[test]
    fn tests_may_import_everything() {
        let inline = "#[cfg(test)]\n#[allow(x)]\nmod tests { use crate::top; }\n#[cfg(test)] use crate::top;\nfn f() {}";
        assert!(found(&[("bottom.rs", inline), ("bottom/tests.rs", "use crate::top;")]).is_empty());
        assert!(
            found(&[("helpers.rs", "use crate::top;"), ("helpers/more.rs", "use crate::top;")]).is_empty()
        );
        let own_file = [("bottom.rs", "#[cfg(test)]\nmod fake;"), ("bottom/fake.rs", "use crate::top;")];
        assert!(found(&own_file).is_empty());
        assert_eq!(found(&[("bottom.rs", "#[cfg(not(test))] use crate::top;")]), ["bottom.rs:1 bottom top"]);
    }

    #[test]
    fn a_module_that_the_list_lacks_is_a_violation() {
        let lib = TextFile { name: "c/src/lib.rs".to_owned(), text: format!("{LIB}mod forgotten;\n") };
        assert_eq!(violations(&[lib]), ["c/src/lib.rs:18: `forgotten` is not in the list of modules"]);
    }

    #[test]
    fn a_crate_without_the_sentence_has_no_order() {
        let lib = TextFile { name: "c/src/lib.rs".to_owned(), text: LIB.replace("only", "mostly") };
        let bottom = TextFile { name: "c/src/bottom.rs".to_owned(), text: "use crate::top;".to_owned() };
        assert!(violations(&[lib, bottom]).is_empty());
    }
}
