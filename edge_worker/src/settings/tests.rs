//! The settings, their defaults and their errors.

use super::*;
use crate::{cors::OriginsError, server_keys::ServerKeysFault, variables::Value};

/// The settings for these variables.
pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::read(&vars(pairs)).unwrap()
}

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_setting_has_a_default() {
    let settings = Settings::read(&vars(&[("UPSTREAM_URL", " "), ("MAX_INSTANCES", "\n")])).unwrap();
    assert_eq!(settings.max_instances, 1);
    assert_eq!(settings.timeouts.prove, Duration::from_mins(2));
    assert_eq!(settings.lifecycle.sleep_after, Duration::from_mins(5));
    assert_eq!(settings.upload_max_bytes, 64 << 20);
    assert_eq!(settings.warnings, ["API_KEYS is not set: any caller may prove"]);
    assert!(settings.upstream.is_none() && settings.secret.is_none() && settings.container_env.0.is_empty());
}

#[test]
fn all_errors_name_their_variable_and_quote_no_secret() {
    let error = Settings::read(&vars(&[
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("API_KEYS", "alice"),
        ("EDGE_SECRET", "too short"),
        ("MAX_INSTANCES", "0"),
        ("SLEEP_AFTER", "soon"),
        ("UPLOAD_MAX", "much"),
        ("UPSTREAM_URL", "127.0.0.1:8080"),
        ("ALLOW_CREDENTIALS", "maybe"),
    ]))
    .unwrap_err();
    let message = error.to_string();
    for name in [
        "ALLOWED_ORIGINS",
        "API_KEYS",
        "EDGE_SECRET",
        "MAX_INSTANCES",
        "SLEEP_AFTER",
        "UPLOAD_MAX",
        "UPSTREAM_URL",
        "ALLOW_CREDENTIALS",
    ] {
        assert_eq!(error.0.iter().filter(|invalid| invalid.name == name).count(), 1, "{message}");
    }
    assert!(!message.contains("too short") && !message.contains("alice"), "{message}");
}

#[test]
fn credentials_for_any_origin_are_refused() {
    let error = Settings::read(&vars(&[("ALLOW_CREDENTIALS", "true")])).unwrap_err();
    assert!(error.to_string().starts_with("ALLOW_CREDENTIALS: "), "{error}");
    let named = vars(&[("ALLOW_CREDENTIALS", "true"), ("ALLOWED_ORIGINS", "https://a.example")]);
    assert!(Settings::read(&named).is_ok());
}

#[test]
fn a_container_gets_its_variables_and_the_secret() {
    let settings = Settings::read(&vars(&[
        ("EDGEPROVE_PROVER_QUEUE_MAX", "7"),
        ("EDGEPROVE_WIDTH", ""),
        ("EDGE_SECRET", "0123456789abcdef"),
        ("ALOWED_ORIGINS", "https://a.example"),
    ]))
    .unwrap();
    assert_eq!(
        settings.container_env.0,
        [
            ("EDGEPROVE_PROVER_QUEUE_MAX".to_owned(), "7".to_owned()),
            ("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned()),
        ]
    );
    assert!(settings.warnings.contains(&"ALOWED_ORIGINS is not a setting of the edge".to_owned()));
    let shown = format!("{settings:?}");
    assert!(!shown.contains("0123456789abcdef") && shown.contains("EDGEPROVE_PROVER_QUEUE_MAX"), "{shown}");
}

#[test]
fn storage_of_jobs_that_is_out_of_reach_is_a_warning() {
    let shared = [
        ("API_KEYS", "alice:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
        ("DATABASE_URL", "postgres://u:hidden@db.example/jobs"),
        ("AWS_ENDPOINT", "https://r2.example"),
        ("EDGEPROVE_ARTIFACTS", "s3://bucket/jobs"),
        ("EDGEPROVE_ARTIFACT_KEY", "0f"),
        ("EDGEPROVE_SEALING_SECRET", "0f"),
        ("EDGEPROVE_RECEIPT_SECRET", "0f"),
        ("MAX_INSTANCES", "3"),
    ];
    let with = |more: &[(&str, &str)]| Settings::read(&vars(&[&shared[..], more].concat())).unwrap();
    let settings = with(&[("CONTAINER_INTERNET", "true")]);
    let names: Vec<_> = settings.container_env.0.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "AWS_ENDPOINT",
        "DATABASE_URL",
        "EDGEPROVE_ARTIFACTS",
        "EDGEPROVE_ARTIFACT_KEY",
        "EDGEPROVE_RECEIPT_SECRET",
        "EDGEPROVE_SEALING_SECRET",
    ];
    assert_eq!(names, wanted);
    assert_eq!(settings.warnings, [""; 0]);
    assert!(!format!("{settings:?}").contains("hidden"));
    let warnings = with(&[]).warnings.join("\n");
    assert!(warnings.contains("DATABASE_URL") && warnings.contains("EDGEPROVE_ARTIFACTS"), "{warnings}");
    let warnings = with(&[("CONTAINER_INTERNET", "true"), ("EDGEPROVE_ARTIFACTS", "/jobs")]).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("not a bucket"), "{warnings:?}");
}

#[test]
fn several_containers_without_a_common_secret_seal_nothing() {
    let secret = ("EDGEPROVE_SEALING_SECRET", "0f0f");
    for (pairs, sealing, is_warned) in [
        (&[][..], None, false),
        (&[("MAX_INSTANCES", "2")], Some("false"), true),
        (&[("MAX_INSTANCES", "2"), secret], None, false),
        (&[("MAX_INSTANCES", "2"), ("EDGEPROVE_SEALING", "true")], Some("true"), true),
        (&[("MAX_INSTANCES", "2"), ("UPSTREAM_URL", "http://127.0.0.1:8080")], Some("false"), false),
    ] {
        let settings = Settings::read(&vars(pairs)).unwrap();
        assert_eq!(settings.container_var("EDGEPROVE_SEALING"), sealing, "{pairs:?}");
        let warnings = settings.warnings.join("\n");
        assert_eq!(warnings.contains("EDGEPROVE_SEALING_SECRET"), is_warned, "{pairs:?}: {warnings}");
        assert!(!warnings.contains("0f0f"), "{warnings}");
    }
}

#[test]
fn several_containers_without_a_common_secret_sign_nothing() {
    let (many, secret) = (("MAX_INSTANCES", "2"), ("EDGEPROVE_RECEIPT_SECRET", "0f0f"));
    for (pairs, receipts, is_warned) in [
        (&[][..], None, false),
        (&[many], Some("false"), true),
        (&[many, secret], None, false),
        (&[many, ("EDGEPROVE_RECEIPTS", "true")], Some("true"), true),
        (&[many, ("EDGEPROVE_RECEIPTS", " off ")], Some("off"), false),
        (&[many, ("UPSTREAM_URL", "http://127.0.0.1:8080")], Some("false"), false),
    ] {
        let settings = Settings::read(&vars(pairs)).unwrap();
        assert_eq!(settings.container_var("EDGEPROVE_RECEIPTS"), receipts, "{pairs:?}");
        let warnings = settings.warnings.join("\n");
        assert_eq!(warnings.contains("EDGEPROVE_RECEIPT_SECRET"), is_warned, "{pairs:?}: {warnings}");
        assert!(!warnings.contains("0f0f"), "{warnings}");
    }
}

#[test]
fn containers_without_a_database_have_separate_jobs() {
    let has_separate_jobs = |pairs: &[_]| settings(pairs).has_separate_jobs();
    assert!(!has_separate_jobs(&[]), "one container has all jobs");
    assert!(has_separate_jobs(&[("MAX_INSTANCES", "2")]));
    assert!(!has_separate_jobs(&[("MAX_INSTANCES", "2"), ("DATABASE_URL", "postgres://db.example/jobs")]));
    assert!(!has_separate_jobs(&[("MAX_INSTANCES", "2"), ("UPSTREAM_URL", "http://127.0.0.1:8080")]));
}

#[test]
fn one_number_for_all_containers_is_an_error() {
    let error = Settings::read(&vars(&[("EDGEPROVE_INSTANCE_NUMBER", "3")])).unwrap_err();
    assert!(error.to_string().starts_with("EDGEPROVE_INSTANCE_NUMBER: "), "{error}");
}

#[test]
fn only_settings_of_the_container_change_its_fingerprint() {
    let with = |queue, secret, other| {
        let vars = vars(&[("EDGEPROVE_PROVER_QUEUE_MAX", queue), ("EDGE_SECRET", secret), other]);
        Settings::read(&vars).unwrap().container_fingerprint()
    };
    let secret = "0123456789abcdef";
    let fingerprint = with("7", secret, ("SLEEP_AFTER", "5m"));
    assert_eq!(fingerprint, with("7", secret, ("SLEEP_AFTER", "1m")));
    for changed in [
        with("77", secret, ("SLEEP_AFTER", "5m")),
        with("7", "fedcba9876543210", ("SLEEP_AFTER", "5m")),
        with("7", secret, ("CONTAINER_INTERNET", "true")),
        with("7", secret, ("EDGEPROVE_WIDTH", "wide")),
    ] {
        assert_ne!(changed, fingerprint);
    }
    assert!(fingerprint.len() == 16 && !fingerprint.contains(secret));
}

fn fault_of(pairs: &[(&str, &str)]) -> (String, SettingFault) {
    let SettingsError(mut invalid) = Settings::read(&vars(pairs)).unwrap_err();
    assert_eq!(invalid.len(), 1, "{invalid:?}");
    let InvalidSetting { name, fault } = invalid.remove(0);
    (name, fault)
}

#[test]
fn an_empty_restriction_is_an_error_and_not_the_default() {
    for name in ["ALLOWED_ORIGINS", "API_KEYS", "EDGE_SECRET"] {
        for empty in ["", " ", "\n", "\u{feff}"] {
            assert_eq!(fault_of(&[(name, empty)]), (name.to_owned(), SettingFault::Empty));
        }
    }
    assert_eq!(fault_of(&[("API_KEYS", " ,\n,")]).1, SettingFault::Empty);
    assert_eq!(fault_of(&[("ALLOWED_ORIGINS", ",")]).1, SettingFault::Origins(OriginsError::NoOrigin));
}

#[test]
fn a_variable_of_any_form_takes_effect() {
    let origins =
        Value::List(vec![Value::Text("https://a.example".into()), Value::Text("https://b.example".into())]);
    let values = Values::from([
        ("ALLOWED_ORIGINS".to_owned(), origins),
        ("MAX_INSTANCES".to_owned(), Value::Number(4.0)),
        ("CONTAINER_INTERNET".to_owned(), Value::Boolean(true)),
        ("EDGEPROVE_PROVER_QUEUE_MAX".to_owned(), Value::Number(7.0)),
        ("PROVER".to_owned(), Value::Other),
        ("ALOWED_ORIGINS".to_owned(), Value::List(Vec::new())),
    ]);
    let settings = Settings::of_bindings(&values).unwrap();
    assert_eq!(settings.origins, Origins::parse("https://a.example,https://b.example").unwrap());
    assert_eq!((settings.max_instances, settings.container_internet), (4, true));
    assert_eq!(settings.container_var("EDGEPROVE_PROVER_QUEUE_MAX"), Some("7"));
    let warnings = settings.warnings.join("\n");
    for wanted in ["API_KEYS is not set: any caller may prove", "ALOWED_ORIGINS is not a setting of the edge"]
    {
        assert!(warnings.contains(wanted), "{warnings}");
    }
}

#[test]
fn a_variable_of_an_unusable_form_is_an_error() {
    let list = |texts: &[&str]| Value::List(texts.iter().map(|&text| Value::Text(text.to_owned())).collect());
    for (name, value, fault) in [
        ("API_KEYS", Value::Other, SettingFault::Form(FormFault::Other)),
        ("API_KEYS", Value::UnreadableSecret, SettingFault::Form(FormFault::UnreadableSecret)),
        ("EDGE_SECRET", Value::UnreadableSecret, SettingFault::Form(FormFault::UnreadableSecret)),
        ("SLEEP_AFTER", list(&["5m"]), SettingFault::Form(FormFault::List)),
        ("EDGEPROVE_CIRCUITS", list(&["a", "b"]), SettingFault::Form(FormFault::List)),
        ("ALLOWED_ORIGINS", list(&[]), SettingFault::Empty),
        ("ALLOWED_ORIGINS", list(&[""]), SettingFault::Empty),
        ("API_KEYS", list(&[]), SettingFault::Empty),
    ] {
        let values = Values::from([(name.to_owned(), value)]);
        let expected = InvalidSetting { name: name.to_owned(), fault };
        assert_eq!(Settings::of_bindings(&values), Err(SettingsError(vec![expected])));
    }
}

#[test]
fn edge_and_container_have_the_same_secret() {
    for written in ["0123456789abcdef\n", " 0123456789abcdef\r\n", "\u{feff}0123456789abcdef"] {
        let settings = settings(&[
            ("EDGE_SECRET", written),
            ("EDGEPROVE_ARTIFACT_KEY", "0f0f\n"),
            ("JOBS", "container"),
        ]);
        assert_eq!(settings.secret.as_ref().map(Secret::expose), Some("0123456789abcdef"));
        assert_eq!(settings.container_var(SERVER_EDGE_SECRET), Some("0123456789abcdef"));
        assert_eq!(settings.container_var("EDGEPROVE_ARTIFACT_KEY"), Some("0f0f"));
    }
    let (name, fault) = fault_of(&[("EDGEPROVE_EDGE_SECRET", "0123456789abcdef")]);
    assert_eq!((name.as_str(), fault), (SERVER_EDGE_SECRET, SettingFault::SetBy("EDGE_SECRET")));
}

#[test]
fn an_upstream_is_a_server_and_its_url_is_never_shown() {
    for (url, fault) in [
        ("http://user:hunter2@prove.example", SettingFault::UrlWithPassword),
        ("https://hunter2@prove.example/", SettingFault::UrlWithPassword),
        ("prove.example?token=hunter2", SettingFault::NotServerUrl),
        ("https://prove.example/?token=hunter2", SettingFault::NotServerUrl),
        ("https://prove.example/#hunter2", SettingFault::NotServerUrl),
        ("https://prove.example:hunter2", SettingFault::NotServerUrl),
        ("https://prove.example:99999", SettingFault::NotServerUrl),
        ("https://prove.example:", SettingFault::NotServerUrl),
        ("ftp://prove.example", SettingFault::NotServerUrl),
    ] {
        let (name, found) = fault_of(&[("UPSTREAM_URL", url)]);
        assert_eq!((name.as_str(), &found), ("UPSTREAM_URL", &fault), "{url}");
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
    for url in ["http://127.0.0.1:8080", "https://prove.example/", "http://[::1]:8080"] {
        assert!(settings(&[("UPSTREAM_URL", url)]).upstream.is_some(), "{url}");
    }
}

#[test]
fn a_boolean_has_the_usual_spellings() {
    for (text, expected) in [("true", true), ("1", true), ("Yes", true), ("FALSE", false), ("0", false)] {
        assert_eq!(settings(&[("CONTAINER_INTERNET", text)]).container_internet, expected, "{text}");
    }
    assert_eq!(fault_of(&[("CONTAINER_INTERNET", "on?")]).1, SettingFault::NotBoolean("on?".to_owned()));
}

#[test]
fn the_edge_admits_the_keys_of_the_containers() {
    use http::{HeaderMap, HeaderValue};

    use crate::api_keys::Caller;

    let digest = |key: &str| hex::encode(Sha256::digest(key));
    let server_keys = format!("[keys.ops]\nsha256 = ['{}']\nrole = 'operator'\n", digest("o"));
    let api_keys = format!("alice:{}", digest("a"));
    let secret = ("EDGE_SECRET", "0123456789abcdef");
    let settings = settings(&[("API_KEYS", api_keys.as_str()), (SERVER_KEYS, server_keys.as_str()), secret]);
    for (key, name) in [("a", "alice"), ("o", "ops")] {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static(key));
        assert_eq!(settings.keys.identify(&headers), Ok(Caller::Key(name.to_owned())));
    }
    assert_eq!(settings.container_var(SERVER_KEYS), Some(server_keys.trim()));

    // The documented form: the edge has the keys, and the containers their roles.
    let roles = ("EDGEPROVE_KEYS", "[keys.alice]\nsha256 = []\nrole = 'operator'");
    assert!(Settings::read(&vars(&[("API_KEYS", api_keys.as_str()), roles, secret])).is_ok());

    for (pairs, fault) in [
        (&[(SERVER_KEYS, server_keys.as_str())][..], SettingFault::NeedsSecret),
        (&[(SERVER_KEYS, "[keys.partner]\nsha256 = []"), secret], ServerKeysFault::NoKeys.into()),
        (&[(SERVER_KEYS, "\n"), secret], SettingFault::Empty),
        (&[(SERVER_KEYS, "keys"), secret], ServerKeysFault::Form { line: 1 }.into()),
    ] {
        assert_eq!(fault_of(pairs), (SERVER_KEYS.to_owned(), fault));
    }
}

#[test]
fn the_secret_of_vouchers_is_for_edge_and_containers() {
    let name = "EDGEPROVE_VOUCHER_SECRET";
    let (secret, text) = (("EDGE_SECRET", "0123456789abcdef"), "0123456789abcdef0123456789abcdef");
    let with = settings(&[secret, (name, &format!("{text}\n"))]);
    assert_eq!(with.voucher_secret, VoucherSecret::new(text));
    assert_eq!(with.container_var(name), Some(text));
    assert!(!format!("{with:?}").contains(text));
    assert_eq!(settings(&[secret]).voucher_secret, None);
    for (pairs, fault) in [
        (&[(name, text)][..], SettingFault::NeedsSecret),
        (&[(name, &text[1..]), secret], SettingFault::UnfitVoucherSecret),
    ] {
        assert_eq!(fault_of(pairs), (name.to_owned(), fault));
    }
}
