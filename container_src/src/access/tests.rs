use edgeprove_protocol::caller::NamedDigest;

use super::*;

fn ring(text: &str) -> KeyRing {
    KeyRing::new(Vec::new(), Role::User).with_file(text).unwrap()
}

fn key(text: &str) -> Credential {
    Credential::Key(KeyDigest::of(text.as_bytes()))
}

fn alice() -> Vec<NamedDigest> {
    // SHA-256 of `abc`, from FIPS 180.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    vec![NamedDigest {
        name: "alice".to_owned(),
        digest: edgeprove_protocol::caller::parse_digest(digest).unwrap(),
    }]
}

#[test]
fn without_keys_callers_are_counted_by_address() {
    let access = Access::new(KeyRing::new(Vec::new(), Role::Priority));
    for credential in [Credential::None, key("anything")] {
        let caller = access.identify(credential, "192.0.2.1".parse().ok()).unwrap();
        assert_eq!((caller.name(), caller.role()), (None, Role::Priority));
        assert_eq!((caller.account.as_str(), caller.owner().as_str()), ("ip:192.0.2.1", "anonymous"));
        assert_eq!(caller.actor(), Actor::Anonymous);
    }
}

#[test]
fn with_keys_callers_need_one() {
    let access = Access::new(KeyRing::new(alice(), Role::User));
    assert_eq!(access.identify(Credential::None, None), Err(Denied::NoKey));
    assert_eq!(access.identify(key("abd"), None), Err(Denied::UnknownKey));
    let caller = access.identify(key("abc"), "192.0.2.1".parse().ok()).unwrap();
    assert_eq!((caller.name(), caller.owner().as_str()), (Some("alice"), "key:alice"));
    assert_eq!(caller.account, "key:alice");
    assert_eq!(caller.actor(), Actor::Key("alice".to_owned()));
}

#[test]
fn anonymous_callers_are_accepted_beside_keys() {
    let text = "[anonymous]\nallowed = true\nper_minute = 6\n[keys.alice]\nsha256 = \
                ['ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad']\nrole = 'operator'\n";
    let access = Access::new(ring(text));
    let caller = access.identify(Credential::None, "192.0.2.1".parse().ok()).unwrap();
    assert_eq!((caller.name(), caller.account.as_str()), (None, "ip:192.0.2.1"));
    assert_eq!(caller.limits().rate, Some(Rate { per_minute: 6, burst: 1 }));
    assert_eq!(access.identify(key("abc"), None).unwrap().role(), Role::Operator);
    assert_eq!(access.identify(key("abd"), None), Err(Denied::UnknownKey), "a wrong key is not ignored");
}

#[test]
fn a_caller_that_the_edge_names_needs_no_key() {
    let access =
        Access::new(ring("[anonymous]\nproofs_per_day = 1\n[keys.alice]\nsha256 = []\nrole = 'operator'\n"));
    let named = |name: &str| access.identify(Credential::NamedByTheEdge(name.to_owned()), None).unwrap();
    assert_eq!(named("alice").role(), Role::Operator);
    let bob = named("bob");
    assert_eq!((bob.role(), bob.limits().proofs_per_day), (Role::User, Some(1)));
    assert_eq!(bob.owner(), "key:bob", "he has the role of callers without a key, and jobs of his own");
    assert_eq!(access.identify(Credential::None, None), Err(Denied::NoKey), "a key holder is defined");
}

#[test]
fn a_dropped_grant_returns_its_proof() {
    let access = Access::new(ring("[anonymous]\nallowed = true\nproofs_per_day = 1\nunfinished_max = 1\n"));
    let caller = access.identify(Credential::None, None).unwrap();
    let grant = access.admit(&caller, Work::Waited).unwrap();
    assert_eq!(access.admit(&caller, Work::Waited).unwrap_err(), Excess::Unfinished { max: 1 });
    drop(grant);
    access.admit(&caller, Work::Waited).unwrap().spend();
    assert!(matches!(access.admit(&caller, Work::Waited), Err(Excess::Quota { per_day: 1, .. })));
}

#[test]
fn guessing_is_slowed_down() {
    let access = Access::new(ring("[anonymous]\nper_minute = 1\nburst = 2\n[keys.alice]\nsha256 = []"));
    let address = "192.0.2.1".parse().ok();
    assert!(access.count_denied(address).is_ok() && access.count_denied(address).is_ok());
    assert!(matches!(access.count_denied(address), Err(Excess::Rate { .. })));
    assert!(access.count_denied("192.0.2.2".parse().ok()).is_ok());
}

#[test]
fn counts_survive_a_change_of_the_keys() {
    let access = Access::new(ring("[anonymous]\nallowed = true\nproofs_per_day = 1\n"));
    let caller = access.identify(Credential::None, None).unwrap();
    access.admit(&caller, Work::Queued).unwrap().spend();
    access.replace(ring("[anonymous]\nallowed = true\nproofs_per_day = 2\n"));
    let caller = access.identify(Credential::None, None).unwrap();
    access.admit(&caller, Work::Queued).unwrap().spend();
    assert!(access.admit(&caller, Work::Queued).is_err());
}
