use std::{collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    document::TemplateDocument, identity::Toolchain, instance::Instance, raw_parameters::RawParameters,
};

fn embedded() -> &'static Catalogue {
    static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::embedded().unwrap());
    &EMBEDDED
}

fn instance(name: &str, language: Language, json: &str) -> Instance {
    let raw: RawParameters = json.parse().unwrap();
    Instance::new(embedded().find(name, Some(language)).unwrap(), &raw).unwrap()
}

fn toolchain() -> Toolchain {
    Toolchain::from_iter([("noir", "1.0.0-beta.26"), ("bb", "5.0.0")])
}

/// The folder and files of an embedded template, to change them.
fn files_of(folder: &str) -> BTreeMap<String, String> {
    let (_, files) = TEMPLATES.iter().find(|(name, _)| *name == folder).unwrap();
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn assert_invalid(folder: &str, change: impl Fn(&mut Value), reason: &str) {
    let mut files = files_of(folder);
    let mut description: Value = serde_json::from_str(&files["template.json"]).unwrap();
    change(&mut description);
    files.insert("template.json".into(), description.to_string());
    let error = Template::read(folder, files).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn every_embedded_template_is_valid() {
    let catalogue = embedded();
    let names: BTreeSet<_> = catalogue.templates().map(ToString::to_string).collect();
    let expected = [
        "attestationThreshold in noir",
        "merkleMembership in noir",
        "rangeCheck in circom",
        "rangeCheck in noir",
        "rangeCheckPublic in circom",
        "rangeCheckPublic in noir",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    for template in catalogue.templates() {
        let sample = Instance::sample(template).unwrap();
        assert!(!sample.accepted_samples().unwrap().is_empty(), "{template}");
        assert!(!sample.refused_samples().unwrap().is_empty(), "{template}");
    }
}

#[test]
fn a_template_is_found_by_name_and_language() {
    let catalogue = embedded();
    let language = |name, language| catalogue.find(name, language).map(|template| template.language());
    assert_eq!(language("rangeCheck", None), Ok(Language::Noir));
    assert_eq!(language("rangeCheck", Some(Language::Circom)), Ok(Language::Circom));
    let error = language("merkleMembership", Some(Language::Circom)).unwrap_err();
    assert_eq!(error.to_string(), "the template merkleMembership is not in circom; its languages are: noir");
    for name in ["", "RangeCheck", "../rangeCheck", "rangeCheck\0", "rangeCheck.circom"] {
        let error = language(name, None).unwrap_err();
        assert!(error.to_string().contains("attestationThreshold, merkleMembership, rangeCheck"), "{error}");
        assert_eq!(error.kind(), ProblemType::TemplateNotFound);
    }
}

#[test]
fn noir_parameters_are_typed_constants() {
    let range = instance("rangeCheck", Language::Noir, r#"{"max":"18446744073709551615","min":5}"#);
    let expected = "//! The parameters of this circuit. Generated.\n\n\
                    pub global MAX: u64 = 18446744073709551615;\n\npub global MIN: u64 = 5;\n";
    assert_eq!(range.files()["src/parameters.nr"], expected);
    assert_eq!(range.files()["src/main.nr"], files_of("noir/templates/rangeCheck")["src/main.nr"]);
    assert!(!range.files().contains_key("template.json"));

    let exact = instance("attestationThreshold", Language::Noir, r#"{"attestations":50,"mode":"exact"}"#);
    let text = &exact.files()["src/parameters.nr"];
    assert!(text.contains("ATTESTATIONS: u32 = 50;\n"), "{text}");
    assert!(
        text.contains("MODE: u32 = 0;\npub global MODE_EXACT: u32 = 0;\npub global MODE_THRESHOLD: u32 = 1;")
    );
    let public = instance("rangeCheckPublic", Language::Noir, "{}");
    assert!(!public.files().contains_key("src/parameters.nr"));
}

#[test]
fn circom_parameters_are_arguments() {
    let main = |name, json| instance(name, Language::Circom, json).files()["main.circom"].clone();
    let range = main("rangeCheck", r#"{"max":500,"min":100}"#);
    assert!(range.contains("component main { public [context] } = RangeCheck(100, 500);\n"), "{range}");
    assert!(range.contains("include \"template.circom\";\n"), "{range}");
    let public = main("rangeCheckPublic", "{}");
    assert!(public.contains("main { public [min, max, context] } = RangeCheckPublic();"), "{public}");
}

#[test]
fn samples_follow_the_parameters() {
    let range = instance("rangeCheck", Language::Noir, r#"{"min":0,"max":7}"#);
    let value = |sample: &crate::sample::Sample| sample.inputs["value"].clone();
    let accepted: Vec<_> = range.accepted_samples().unwrap().iter().map(value).collect();
    assert_eq!(accepted, [json!("0"), json!("7")]);
    let refused: Vec<_> = range.refused_samples().unwrap().iter().map(value).collect();
    assert_eq!(refused, [json!("-1"), json!("8"), json!("18446744073709551616")]);
}

#[test]
fn the_hash_covers_everything_that_makes_a_circuit() {
    let json = r#"{"min":1,"max":5}"#;
    let range = instance("rangeCheck", Language::Noir, json);
    let hash = range.hash(&toolchain());
    assert_eq!(hash, range.hash(&Toolchain::from_iter([("bb", "5.0.0"), ("noir", "1.0.0-beta.26")])));
    assert_ne!(hash, range.hash(&Toolchain::from_iter([("noir", "1.0.0-beta.26"), ("bb", "5.0.1")])));
    assert_ne!(hash, range.hash(&Toolchain::default()));
    assert_ne!(hash, instance("rangeCheck", Language::Circom, json).hash(&toolchain()));
    assert_ne!(hash, instance("rangeCheck", Language::Noir, r#"{"min":1,"max":6}"#).hash(&toolchain()));

    let mut files = files_of("noir/templates/rangeCheck");
    files.get_mut("src/main.nr").unwrap().push_str("// changed\n");
    let changed = Arc::new(Template::read("noir/templates/rangeCheck", files).unwrap());
    assert_ne!(hash, Instance::new(&changed, &json.parse().unwrap()).unwrap().hash(&toolchain()));
}

/// The hash of a circuit must not change by accident: a registry would build all circuits again.
#[test]
fn the_hash_is_that_of_the_documented_text() {
    use sha2::{Digest as _, Sha256};

    let range = instance("rangeCheck", Language::Circom, r#"{"min":1,"max":"9007199254740992"}"#);
    let digest = |name: &str| hex::encode(Sha256::digest(&range.files()[name]));
    let text = format!(
        r#"{{"files":{{"main.circom":"{}","template.circom":"{}"}},"language":"circom","name":"rangeCheck","parameters":{{"max":"9007199254740992","min":1}},"toolchain":{{"bb":"5.0.0","noir":"1.0.0-beta.26"}}}}"#,
        digest("main.circom"),
        digest("template.circom"),
    );
    let hash = hex::encode(Sha256::digest(text));
    assert_eq!(range.hash(&toolchain()).to_string(), hash);
    assert_eq!(range.circuit_id(&toolchain()).as_str(), format!("rangeCheck-{}", &hash[..40]));
}

#[test]
fn a_description_that_contradicts_itself_is_refused() {
    let range = "noir/templates/rangeCheck";
    assert_invalid(range, |d| d["name"] = json!("rangeCheck2"), "belong to noir/templates/rangeCheck2");
    assert_invalid(range, |d| d["language"] = json!("cairo"), "unknown variant");
    assert_invalid(range, |d| d["extra"] = json!(1), "unknown field");
    assert_invalid(range, |d| d["proves"] = json!(""), "one sentence");
    assert_invalid(range, |d| d["public_inputs"] = json!([]), "no public input");
    assert_invalid(range, |d| d["public_inputs"][0]["name"] = json!("value"), "two inputs");
    assert_invalid(range, |d| d["private_inputs"][0]["name"] = json!("a b"), "no name for an input");
    assert_invalid(range, |d| d["checks"][0]["left"] = json!("value"), "names no integer parameters");
    assert_invalid(range, |d| d["public_in"]["x"] = json!("y"), "no parameter");
    assert_invalid(
        range,
        |d| d["circom"] = json!({ "template": "T", "arguments": [] }),
        "for templates in circom",
    );
    assert_invalid(range, |d| d["sample"]["refused"] = json!([]), "one that is refused");
    let samples = |d: &mut Value| d["sample"]["accepted"][0]["inputs"] = json!({ "value": 1 });
    assert_invalid(range, samples, "must have each input once");
    let unknown =
        |d: &mut Value| d["sample"]["accepted"][0]["inputs"]["value"] = json!({ "$parameter": "middle" });
    assert_invalid(range, unknown, "`middle`, which is no integer parameter");
    let circom = "circom/templates/rangeCheck";
    assert_invalid(circom, |d| d["circom"] = Value::Null, "must name the template");
    assert_invalid(circom, |d| d["circom"]["template"] = json!("R() {"), "must name the template");
    assert_invalid(circom, |d| d["circom"]["arguments"] = json!(["min"]), "each parameter once");
    assert_invalid(
        circom,
        |d| d["circom"]["arguments"] = json!(["min", "max", "min"]),
        "each parameter once",
    );
    let same_constant = |d: &mut Value| {
        let minimum = d["parameters"]["properties"]["min"].clone();
        let mode = json!({ "type": "string", "enum": ["x"], "description": "" });
        d["parameters"]["properties"] =
            json!({ "min": minimum.clone(), "max": minimum.clone(), "mode": mode, "modeX": minimum });
        d["parameters"]["required"] = json!(["min", "max", "mode", "modeX"]);
    };
    assert_invalid(range, same_constant, "the constant `MODE_X`");
}

#[test]
fn a_folder_without_its_files_is_refused() {
    for (folder, remove, add) in [
        ("noir/templates/rangeCheck", Some("template.json"), None),
        ("noir/templates/rangeCheck", Some("src/main.nr"), None),
        ("noir/templates/rangeCheck", None, Some("src/parameters.nr")),
        ("circom/templates/rangeCheck", Some("template.circom"), None),
        ("circom/templates/rangeCheck", None, Some("main.circom")),
    ] {
        let mut files = files_of(folder);
        remove.map(|name| files.remove(name));
        add.map(|name: &str| files.insert(name.into(), String::new()));
        assert!(Template::read(folder, files).is_err(), "{folder} {remove:?} {add:?}");
    }
}

#[test]
fn templates_of_one_name_differ_in_their_language_only() {
    let range = |language: Language, proves: &str| {
        let folder = format!("{language}/templates/rangeCheck");
        let mut files = files_of(&folder);
        let mut description: Value = serde_json::from_str(&files["template.json"]).unwrap();
        description["proves"] = json!(proves);
        description["public_in"] = json!({});
        files.insert("template.json".into(), description.to_string());
        (folder.clone(), Template::read(&folder, files).unwrap())
    };
    assert!(Catalogue::of(vec![range(Language::Noir, "A."), range(Language::Circom, "A.")]).is_ok());
    let error = Catalogue::of(vec![range(Language::Noir, "A."), range(Language::Circom, "B.")]).unwrap_err();
    assert!(error.to_string().contains("`proves` differs"), "{error}");
    let alone = Template::read("noir/templates/rangeCheck", files_of("noir/templates/rangeCheck")).unwrap();
    let error = Catalogue::of(vec![("x".into(), alone)]).unwrap_err();
    assert!(error.to_string().contains("`rangeCheckPublic` has no public input"), "{error}");
}

#[test]
fn a_document_shows_all_that_a_caller_needs() {
    let catalogue = embedded();
    let document = TemplateDocument::of(catalogue.entry("rangeCheck").unwrap()).unwrap();
    let json = serde_json::to_value(&document).unwrap();
    assert_eq!(json["languages"], json!(["noir", "circom"]));
    assert_eq!(json["parameters"]["required"], json!(["max", "min"]));
    assert_eq!(json["checks"], json!([{ "check": "less_or_equal", "left": "min", "right": "max" }]));
    assert_eq!(json["public_inputs"][0]["name"], "context");
    assert_eq!(json["public_in"]["min"], "rangeCheckPublic");
    assert_eq!(json["sample"]["parameters"], json!({ "min": 100, "max": 500 }));
    assert_eq!(json["sample"]["accepted"][0]["inputs"], json!({ "value": "100", "context": "7" }));
    assert!(json["sizes"]["noir"]["gates"].as_u64() > Some(100));
    assert!(json["sizes"]["circom"]["constraints"].as_u64() > Some(100));
}

proptest! {
    #[test]
    fn order_and_spelling_do_not_change_the_identity(
        a in 0..u64::MAX, b in 0..u64::MAX, swapped: bool, quoted: (bool, bool), spaced: bool,
    ) {
        let (min, max) = (a.min(b), a.max(b));
        let spelled = |value: u64, quoted: bool| {
            if quoted || value > 9_007_199_254_740_991 { format!("\"{value}\"") } else { value.to_string() }
        };
        let (first, second) = (format!("\"min\":{}", spelled(min, quoted.0)), format!("\"max\":{}", spelled(max, quoted.1)));
        let (first, second) = if swapped { (second, first) } else { (first, second) };
        let space = if spaced { " \n\t" } else { "" };
        let other = format!("{{{space}{first}{space},{second}{space}}}");
        let plain = format!("{{\"min\":\"{min}\",\"max\":\"{max}\"}}");
        for language in Language::ALL {
            let (plain, other) = (instance("rangeCheck", language, &plain), instance("rangeCheck", language, &other));
            prop_assert_eq!(plain.hash(&toolchain()), other.hash(&toolchain()));
            let id = other.circuit_id(&toolchain());
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }
    }

    #[test]
    fn a_default_has_the_identity_of_its_value(attestations in prop_oneof![Just(10), Just(50), Just(200)]) {
        let of = |mode: &str| {
            let json = format!("{{\"attestations\":{attestations}{mode}}}");
            instance("attestationThreshold", Language::Noir, &json).circuit_id(&toolchain())
        };
        prop_assert_eq!(of(""), of(",\"mode\":\"threshold\""));
        prop_assert_ne!(of(""), of(",\"mode\":\"exact\""));
    }

    /// Whatever a caller sends, the generated source has the shape of the template's own.
    #[test]
    fn no_text_of_a_caller_becomes_source_text(min: String, max in "[0-9;*/(){}\"\\\\ -]{0,24}") {
        let json = json!({ "min": min, "max": max }).to_string();
        let raw: RawParameters = json.parse().unwrap();
        for language in Language::ALL {
            let catalogue = embedded();
            let Ok(range) = Instance::new(catalogue.find("rangeCheck", Some(language)).unwrap(), &raw) else { continue };
            let generated = if language == Language::Noir { "src/parameters.nr" } else { "main.circom" };
            let shape: String = range.files()[generated].chars().filter(|c| !c.is_ascii_digit()).collect();
            let sample = Instance::sample(catalogue.find("rangeCheck", Some(language)).unwrap()).unwrap();
            let expected: String = sample.files()[generated].chars().filter(|c| !c.is_ascii_digit()).collect();
            prop_assert_eq!(shape, expected);
        }
    }
}
