//! A minimal reader of Rust source: identifiers and punctuation with their line numbers, without comments and literals.
//!
//! It is enough to find the paths that a file names, and it needs no parser for the whole language.

/// An identifier, a number, `::` or one other character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The tokens of a source file, in order.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut reader = Reader { source, position: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = reader.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Reader<'a> {
    source: &'a str,
    /// Byte offset of the next character.
    position: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        let end = self.position + bytes;
        self.line += self.source[self.position..end].matches('\n').count();
        self.position = end;
    }

    /// Moves past the first occurrence of `end`, or to the end of the file.
    fn skip_past(&mut self, end: &str) {
        let rest = self.rest();
        self.advance(rest.find(end).map_or(rest.len(), |at| at + end.len()));
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            let next = self.peek()?;
            if next.is_whitespace() {
                self.advance(next.len_utf8());
            } else if rest.starts_with("//") {
                self.skip_past("\n");
            } else if rest.starts_with("/*") {
                self.skip_block_comment();
            } else if next == '"' {
                self.skip_string();
            } else if next == '\'' {
                self.skip_char_or_tick();
            } else if !self.skip_prefixed_string() {
                let length = if next.is_alphanumeric() || next == '_' {
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
                } else if rest.starts_with("::") {
                    2
                } else {
                    next.len_utf8()
                };
                let token = Token { text: &rest[..length], line: self.line };
                self.advance(length);
                return Some(token);
            }
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return;
            } else if rest.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.advance(self.peek().map_or(1, char::len_utf8));
            }
        }
    }

    /// A string whose opening quote is next.
    fn skip_string(&mut self) {
        self.advance(1);
        while let Some(next) = self.peek() {
            self.advance(next.len_utf8());
            match next {
                '"' => return,
                '\\' => self.advance(self.peek().map_or(0, char::len_utf8)),
                _ => {}
            }
        }
    }

    /// `r"…"`, `br#"…"#`, `b"…"`, `c"…"`; false where something else is next.
    fn skip_prefixed_string(&mut self) -> bool {
        let rest = self.rest();
        let letters = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
        let after = &rest[letters..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        let is_raw = rest[..letters].contains('r');
        if letters == 0 || letters > 2 || !after[hashes..].starts_with('"') || (hashes > 0 && !is_raw) {
            return false;
        }
        self.advance(letters + hashes);
        if is_raw {
            self.advance(1);
            self.skip_past(&format!("\"{}", "#".repeat(hashes)));
        } else {
            self.skip_string();
        }
        true
    }

    /// A character, or the tick of a lifetime or label, whose name is then read as an identifier.
    fn skip_char_or_tick(&mut self) {
        let mut following = self.rest().chars().skip(1);
        let (first, second) = (following.next(), following.next());
        self.advance(1);
        if first == Some('\\') {
            self.advance(1);
            self.advance(self.peek().map_or(0, char::len_utf8));
            self.skip_past("'");
        } else if second == Some('\'') {
            self.advance(first.map_or(0, char::len_utf8) + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        let source = r##"
            // crate::a
            /* crate::b /* nested */ crate::c */
            let x = "crate::d \" crate::e"; let y = r#"crate::f " "#; let z = b"g"; let c = ['\'', 'h', '"'];
            fn f<'a>(x: &'a str) {}
        "##;
        let expected = "let x = ; let y = ; let z = ; let c = [ , , ] ; fn f < a > ( x : & a str ) { }";
        assert_eq!(texts(source).join(" "), expected);
    }

    #[test]
    fn identifiers_may_begin_like_a_string_prefix() {
        assert_eq!(texts("bench::r#type crate_b"), ["bench", "::", "r", "#", "type", "crate_b"]);
    }

    #[test]
    fn tokens_know_their_lines() {
        let source = "a\n\"two\nlines\"\n/* x\n*/ crate::b";
        let lines: Vec<_> = tokens(source).iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("crate", 5), ("::", 5), ("b", 5)]);
    }
}
