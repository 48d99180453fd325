use acir::AcirField as _;
use edgeprove_protocol::{HasProblemType as _, ProblemType};
use serde_json::json;

use super::*;

fn abi() -> Abi {
    let integer = |sign: &str, width| json!({"kind": "integer", "sign": sign, "width": width});
    let field = json!({"kind": "field"});
    let voter = json!({"kind": "struct", "path": "a::Voter", "fields": [
        {"name": "age", "type": integer("unsigned", 8)},
        {"name": "place", "type": {"kind": "tuple", "fields": [integer("signed", 8), {"kind": "boolean"}]}},
    ]});
    let parameter = |name: &str, kind: &Value, visibility: &str| json!({"name": name, "type": kind, "visibility": visibility});
    let abi = json!({"parameters": [
        parameter("voters", &json!({"kind": "array", "length": 2, "type": voter}), "private"),
        parameter("salt", &field, "databus"),
        parameter("label", &json!({"kind": "string", "length": 3}), "public"),
        parameter("total", &integer("unsigned", 128), "public"),
    ], "return_type": null, "error_types": {
        "17": {"error_kind": "string", "string": "too young"},
        "18": {"error_kind": "fmtstring", "length": 3, "item_types": [{"kind": "field"}]},
        "19": {"error_kind": "custom", "kind": "field"},
    }});
    Abi::read(Some(&abi), 11).unwrap()
}

const VOTERS: &str = r#"[{"age": 18, "place": [-128, true]}, {"place": ["-0x1", 0], "age": "0xff"}]"#;
const PUBLIC: &str = r#"{"total": "340282366920938463463374607431768211455", "label": "a\u00e9"}"#;

fn document(private: &str, public: &str) -> String {
    format!(r#"{{"privateInputs": {private}, "publicInputs": {public}, "circuitId": "x"}}"#)
}

fn flatten(text: &str) -> Result<Vec<FieldElement>, InputError> {
    let document = InputDocument::parse(text.as_bytes().to_vec()).unwrap();
    abi().flatten(&document).map(|flattened| flattened.values().to_vec())
}

fn error(private: &str, public: &str) -> String {
    let error = flatten(&document(private, public)).unwrap_err();
    assert_eq!(error.kind(), ProblemType::InvalidInputs);
    error.to_string()
}

#[test]
fn inputs_are_flattened_in_the_order_of_the_abi() {
    let values = flatten(&document(&format!(r#"{{"salt": -1, "voters": {VOTERS}}}"#), PUBLIC)).unwrap();
    let mut expected: Vec<_> = [18, 128, 1, 255, 255, 0].map(|value: u128| FieldElement::from(value)).into();
    expected.push(-FieldElement::one());
    expected.extend([97, 0xc3, 0xa9, u128::MAX].map(FieldElement::from));
    assert_eq!(values, expected);
}

#[test]
fn every_fault_names_its_field_and_no_value() {
    let voter =
        |voter: &str| format!(r#"{{"salt": 1, "voters": [{voter}, {{"age": 18, "place": [0, true]}}]}}"#);
    let u8_text = "expected a u8 (an integer from 0 to 255), found";
    for (private, expected) in [
        (
            voter(r#"{"age": 256, "place": [0, true]}"#),
            format!("voters[0].age: {u8_text} a number out of range"),
        ),
        (
            voter(r#"{"age": -77, "place": 0}"#),
            format!("voters[0].age: {u8_text} a negative number out of range"),
        ),
        (
            voter(r#"{"age": "77x"}"#),
            format!("voters[0].age: {u8_text} a string that is neither decimal nor 0x"),
        ),
        (
            voter(r#"{"age": 77.0}"#),
            format!("voters[0].age: {u8_text} a number with a fraction, an exponent"),
        ),
        (voter(r#"{"age": null}"#), format!("voters[0].age: {u8_text} null")),
        (voter(r#"{"age": [77]}"#), format!("voters[0].age: {u8_text} an array")),
        (voter(r#"{"age": {}}"#), format!("voters[0].age: {u8_text} an object")),
        (voter(r#"{"age": true}"#), format!("voters[0].age: {u8_text} a boolean")),
        (voter(r#"{"age": 77, "age": 77}"#), "voters[0].age: it is there twice".to_owned()),
        (
            voter(r#"{"age": 77}"#),
            "voters[0].place: it is missing; expected an array of 2 elements".to_owned(),
        ),
        (
            voter(r#"{"agge": 77}"#),
            "voters[0].agge: there is no such field; expected `age`, `place`".to_owned(),
        ),
        (voter(r#"{"77 x": 77}"#), "voters[0].?: there is no such field".to_owned()),
        (
            voter(r#"{"place": [-129, true]}"#),
            "voters[0].place[0]: expected an i8 (an integer from -128 to 127)".to_owned(),
        ),
        (
            voter(r#"{"place": [0, 2]}"#),
            "voters[0].place[1]: expected a boolean, found a number out of range".to_owned(),
        ),
        (
            voter(r#"{"place": [0, "77"]}"#),
            "voters[0].place[1]: expected a boolean, found a number out".to_owned(),
        ),
        (
            voter(r#"{"place": [0]}"#),
            "voters[0].place: expected an array of 2 elements, for a tuple, found an array of 1 elements"
                .to_owned(),
        ),
        (
            voter(r#"{"place": [0, true, 77]}"#),
            "voters[0].place: expected an array of 2 elements, for a tuple, found an array with more"
                .to_owned(),
        ),
        (
            voter("77"),
            "voters[0]: expected an object with the fields `age`, `place`, found a number".to_owned(),
        ),
        (
            r#"{"voters": []}"#.to_owned(),
            "voters: expected an array of 2 elements, found an array of 0".to_owned(),
        ),
        (
            r#"{"voters": "77"}"#.to_owned(),
            "voters: expected an array of 2 elements, found a string".to_owned(),
        ),
        (format!(r#"{{"voters": {VOTERS}}}"#), "salt: it is missing; expected a field element".to_owned()),
        (
            r#"{"salt": "-77"}"#.to_owned(),
            "salt: expected a field element (an integer below the modulus), found a string with a negative"
                .to_owned(),
        ),
        (
            format!(r#"{{"salt": "{}"}}"#, "77".repeat(50)),
            "salt: expected a field element (an integer below the modulus), found a number out of range"
                .to_owned(),
        ),
        (
            r#"{"salt": 18446744073709551616}"#.to_owned(),
            "salt: expected a field element (an integer below the modulus), found a number with".to_owned(),
        ),
        (r#"{"salt": 1, "salt": 77}"#.to_owned(), "salt: it is there twice".to_owned()),
        (r#"{"label": "abc"}"#.to_owned(), "label: it is a public parameter".to_owned()),
        (
            r#"{"return": 77}"#.to_owned(),
            "return: there is no such field; expected `voters`, `salt`".to_owned(),
        ),
    ] {
        let error = error(&private, PUBLIC);
        let path = error.strip_prefix("privateInputs.").unwrap();
        assert!(path.starts_with(&expected), "{private}: {error}");
        assert!(!error.contains("77"), "{error}");
    }
}

#[test]
fn every_fault_of_public_inputs_names_its_field() {
    let private = format!(r#"{{"salt": 1, "voters": {VOTERS}}}"#);
    for (public, expected) in [
        ("{}", "label: it is missing; expected a string of 3 bytes in UTF-8"),
        (r#"{"label": "77"}"#, "label: expected a string of 3 bytes in UTF-8, found a string of 2 bytes"),
        (r#"{"label": [7, 7, 7]}"#, "label: expected a string of 3 bytes in UTF-8, found an array"),
        (r#"{"label": 777}"#, "label: expected a string of 3 bytes in UTF-8, found a number"),
        (r#"{"salt": 77}"#, "salt: it is a private parameter"),
    ] {
        let error = error(&private, public);
        assert!(error.strip_prefix("publicInputs.").unwrap().starts_with(expected), "{public}: {error}");
    }
}

#[test]
fn only_fixed_messages_are_read() {
    let abi = abi();
    assert_eq!([17, 18, 19, 20].map(|selector| abi.message(selector)), [Some("too young"), None, None, None]);
}

#[test]
fn an_abi_that_does_not_fit_is_refused() {
    let one = |kind: &Value| json!({"parameters": [{"name": "x", "type": kind, "visibility": "private"}]});
    assert_eq!(Abi::read(None, 0).unwrap_err(), AbiError::Missing);
    assert_eq!(Abi::read(Some(&json!([])), 0).unwrap_err(), AbiError::Unknown);
    assert_eq!(Abi::read(Some(&one(&json!({"kind": "field"}))), 2).unwrap_err(), AbiError::OfAnotherCircuit);
    let nested = json!({"kind": "array", "length": u32::MAX, "type": {"kind": "array", "length": u32::MAX,
        "type": {"kind": "string", "length": 3}}});
    for kind in [
        json!({"kind": "function"}),
        json!({"kind": "integer", "sign": "signed", "width": 129}),
        json!({"kind": "integer", "sign": "signed", "width": 0}),
        nested,
    ] {
        assert_eq!(Abi::read(Some(&one(&kind)), 1).unwrap_err(), AbiError::Unknown, "{kind}");
    }
}
