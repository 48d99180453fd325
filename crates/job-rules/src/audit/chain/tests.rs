use super::*;
use crate::audit::{Action, Actor};

fn chain(entries: usize) -> Vec<String> {
    let mut head = Link::START;
    let lines = (0..entries).map(|number| {
        let actor = Actor::Key(format!("user-{number}"));
        let entry = Entry::new("2026-11-21T09:43:23.731Z".to_owned(), actor, Action::JobSubmitted);
        let record = Record::after(head, &entry);
        head = record.link();
        record.line()
    });
    lines.collect()
}

fn verify(lines: &[String]) -> Result<Verified, (usize, LineFault)> {
    verify_with(lines, Vec::new())
}

fn verify_with(lines: &[String], anchors: Vec<Link>) -> Result<Verified, (usize, LineFault)> {
    let mut verifier = Verifier::with_anchors(anchors);
    for (at, line) in lines.iter().enumerate() {
        verifier.take(line).map_err(|fault| (at, fault))?;
    }
    verifier.finish().map_err(|fault| (lines.len(), fault))
}

fn link(line: &str) -> Link {
    Record::read(line).unwrap().link()
}

/// Computed with Python's `hashlib`, from the description in `docs/AUDIT.md`.
#[test]
fn the_hash_is_what_others_compute() {
    let lines = chain(2);
    assert_eq!(
        lines[1],
        "{\"entry\":{\"action\":\"job.accepted\",\"actor\":\"key:user-1\",\"time\":\"2026-11-21T09:43:23.731Z\"},\
         \"hash\":\"ca8c2eee319890ceee0a62b175c899ff88e62c37f9cae9a8ef3a4d92090f08f5\",\
         \"previous\":\"cbeb4b3f4776c94e0180fea9323c22225cb67909ab398d9bb434082674543252\",\"seq\":2}"
    );
}

#[test]
fn a_whole_chain_and_a_piece_of_it_are_whole() {
    let lines = chain(5);
    let head = link(&lines[4]);
    assert_eq!(verify(&lines), Ok(Verified { begins_after: Link::START, head }));
    assert_eq!(verify(&lines[2..]), Ok(Verified { begins_after: link(&lines[1]), head }));
    assert_eq!(verify(&[]), Ok(Verified { begins_after: Link::START, head: Link::START }));
}

#[test]
fn whatever_is_changed_is_found_where_it_is() {
    let lines = chain(4);
    for at in 0..lines.len() {
        for byte in 0..lines[at].len() {
            let mut changed = lines.clone();
            let mut bytes = changed[at].clone().into_bytes();
            // Another character of the same kind, so that the line mostly stays well formed.
            bytes[byte] = match bytes[byte] {
                b'9' => b'0',
                b'f' => b'a',
                other => other + 1,
            };
            changed[at] = String::from_utf8(bytes).unwrap();
            let (line, fault) = verify(&changed).expect_err(&changed[at]);
            assert_eq!(line, at, "{fault}: {}", changed[at]);
        }
    }
}

#[test]
fn what_is_removed_doubled_moved_or_put_in_is_found() {
    let lines = chain(5);
    let without: Vec<_> = [&lines[..2], &lines[3..]].concat();
    assert_eq!(verify(&without), Err((2, LineFault::OutOfOrder { expected: 3, seq: 4 })));
    let doubled: Vec<_> = [&lines[..2], &lines[1..]].concat();
    assert_eq!(verify(&doubled), Err((2, LineFault::OutOfOrder { expected: 3, seq: 2 })));
    let mut moved = lines.clone();
    moved.swap(1, 2);
    assert_eq!(verify(&moved), Err((1, LineFault::OutOfOrder { expected: 2, seq: 3 })));

    // An entry of another chain, whole in itself.
    let entry = Entry::new("2026-11-21T09:43:23.731Z".to_owned(), Actor::Server, Action::JobSubmitted);
    let other = Record::after(Link { seq: 2, hash: Hash([7; 32]) }, &entry);
    let mut forged = lines.clone();
    forged[2] = other.line();
    assert_eq!(verify(&forged), Err((2, LineFault::Unlinked { seq: 3 })));

    // One that follows well, after which the next does not.
    forged[2] = Record::after(link(&lines[1]), &entry).line();
    assert_eq!(verify(&forged), Err((3, LineFault::Unlinked { seq: 4 })));

    // A first entry with a hash of an entry before it.
    let first = Record::after(Link { seq: 0, hash: Hash([7; 32]) }, &entry);
    assert_eq!(verify(&[first.line()]), Err((0, LineFault::Unlinked { seq: 1 })));
    let zeroth = lines[0].replace("\"seq\":1}", "\"seq\":0}");
    assert_eq!(verify(&[zeroth]), Err((0, LineFault::OtherHash { seq: 0 })));
}

#[test]
fn a_line_has_one_spelling() {
    let line = &chain(1)[0];
    for other in [
        line.replace(":{", ": {"),
        line.replace("\"seq\":1}", "\"seq\":1} "),
        line.replace("\"action\":", "\"action\":\"job.failed\",\"action\":"),
        line.replace("job.accepted", "job.\\u0073ubmitted"),
        line.replace("\"hash\":", "\"hash\":\"\",\"hash\":"),
        line.replace("\"seq\":1}", "\"seq\":1,\"more\":1}"),
        line.replace("\"key:user-0\"", "{\"is\":\"key:user-0\"}"),
        line.replace("\"key:user-0\"", "1.5"),
        line.to_uppercase(),
        String::new(),
    ] {
        assert!(Record::read(&other).is_err(), "{other}");
    }
    let shouting = line.replace(&link(line).hash.to_string(), &link(line).hash.to_string().to_uppercase());
    assert!(matches!(Record::read(&shouting), Err(LineFault::NotAnEntry { .. })));
}

#[test]
fn an_anchor_holds_the_chain_to_what_it_was() {
    let lines = chain(5);
    let (third, last) = (link(&lines[2]), link(&lines[4]));
    assert!(verify_with(&lines, vec![third, last]).is_ok());
    assert!(verify_with(&lines[3..], vec![third]).is_ok(), "a piece may begin right after an anchor");
    assert_eq!(
        verify_with(&lines[..4], vec![last]),
        Err((4, LineFault::AnchorMissing { seq: 5 })),
        "the last entry was cut off"
    );
    let rewritten: Vec<_> = {
        let mut head = Link::START;
        let lines = (0..5).map(|_| {
            let record = Record::after(head, &Entry::new(String::new(), Actor::Server, Action::JobSubmitted));
            head = record.link();
            record.line()
        });
        lines.collect()
    };
    assert!(verify(&rewritten).is_ok(), "a chain alone does not show that it was rewritten");
    assert_eq!(
        verify_with(&rewritten, vec![third]),
        Err((2, LineFault::OtherThanAnchor { seq: 3 })),
        "but an anchor does"
    );
    assert_eq!(verify_with(&[], vec![third]), Err((0, LineFault::AnchorMissing { seq: 3 })));
}

#[test]
fn a_written_link_can_be_parsed() {
    let link = link(&chain(3)[2]);
    assert_eq!(link.to_string().parse(), Ok(link));
    for bad in ["", "3", "3:", ":abc", "3:zz", &format!("-1:{}", link.hash), &format!("3:{}0", link.hash)] {
        assert_eq!(bad.parse::<Link>(), Err(InvalidLink), "{bad}");
    }
}
