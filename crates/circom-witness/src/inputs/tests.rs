use super::*;

fn parse(json: &str) -> Result<Vec<(String, Vec<String>)>, InputError> {
    let inputs = Inputs::parse(json.as_bytes())?;
    let decimal = |signal: &Signal| signal.values.iter().map(|value| field::to_decimal(value)).collect();
    Ok(inputs.signals.iter().map(|signal| (signal.name.clone(), decimal(signal))).collect())
}

#[track_caller]
fn error(json: &str) -> String {
    parse(json).unwrap_err().to_string()
}

#[test]
fn arrays_are_flattened_in_order() {
    let signals = parse(r#"{"b": [[1, "2"], [], [[3]]], "a": "0x10", "none": []}"#).unwrap();
    let expected = [("b", vec!["1", "2", "3"]), ("a", vec!["16"]), ("none", vec![])];
    assert_eq!(signals.len(), expected.len());
    for ((name, values), (expected_name, expected_values)) in signals.iter().zip(&expected) {
        assert_eq!(
            (name.as_str(), values),
            (*expected_name, &expected_values.iter().map(ToString::to_string).collect())
        );
    }
}

#[test]
fn fields_of_buses_are_named_with_dots() {
    let signals = parse(r#"{"p": {"x": 1, "q": {"y": [2, 3]}}, "list": [{"x": 4}, {"x": 5}]}"#).unwrap();
    let names: Vec<_> = signals.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["p.x", "p.q.y", "list[0].x", "list[1].x"]);
    let nested = parse(r#"{"a": [[{"b": [{"c": 1}]}], [{"b": [7]}]]}"#).unwrap();
    let names: Vec<_> = nested.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a[0][0].b[0].c", "a[1][0].b"]);
}

#[test]
fn errors_name_signal_and_position_and_no_value() {
    for (json, expected) in [
        (r#"{"a": [1, true]}"#, r#"input "a", value 1: expected an integer"#),
        (r#"{"a": [1, null]}"#, r#"input "a", value 1: expected an integer"#),
        (r#"{"a": [[0, 1], [2, "424243x"]]}"#, r#"input "a", value 3: expected an integer"#),
        (r#"{"a": 424242.5}"#, r#"input "a", value 0: expected an integer"#),
        (r#"{"a": 42424242424242424242424242}"#, r#"input "a", value 0: expected an integer"#),
        (r#"{"a": 1e3}"#, r#"input "a", value 0: expected an integer"#),
        (
            r#"{"a": "0x424244e72e131a029b85045b68181585d2833e84879b9709143e1f593f000000"}"#,
            r#"input "a", value 0: expected an integer below the modulus"#,
        ),
    ] {
        let error = error(json);
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("4242"), "{error}");
    }
    let long = format!(r#"{{"{}": true}}"#, "n".repeat(10_000));
    assert!(error(&long).len() < 400);
}

#[test]
fn a_signal_that_is_given_twice_is_an_error() {
    assert_eq!(error(r#"{"a": 1, "a": 1}"#), r#"input "a" is given twice"#);
    assert_eq!(error(r#"{"a.b": 1, "a": {"b": 2}}"#), r#"input "a.b" is given twice"#);
}

#[test]
fn a_list_has_either_values_or_buses() {
    for json in [r#"{"a": [1, {"x": 2}]}"#, r#"{"a": [[1], [{"x": 2}]]}"#] {
        assert!(error(json).starts_with(r#"input "a", value 1: expected an integer"#), "{json}");
    }
    let after = error(r#"{"a": [{"x": 2}, [], 1]}"#);
    assert!(after.starts_with(r#"input "a", value 0: expected an integer"#), "{after}");
    assert!(parse(r#"{"a": [[], {}], "b": {}}"#).unwrap().is_empty());
}

#[test]
fn names_are_bounded_as_a_whole() {
    let long = "n".repeat(MAX_NAME_BYTES);
    assert!(parse(&format!(r#"{{"{long}": 1}}"#)).is_ok());
    assert_eq!(parse(&format!(r#"{{"{long}n": 1}}"#)).unwrap_err(), InputError::NamesTooLong);
    // A long name that each bus of a list would repeat, whether or not the buses have fields.
    for bus in [r#"{"x": 1}"#, "{}"] {
        let list = vec![bus; 100_000].join(",");
        let json = format!(r#"{{"{}": [{list}]}}"#, &long[..1000]);
        assert_eq!(parse(&json).unwrap_err(), InputError::NamesTooLong);
    }
    let blank = vec![b' '; MAX_INPUT_BYTES + 1];
    assert!(matches!(Inputs::parse(&blank).unwrap_err(), InputError::TooLong { .. }));
}

#[test]
fn values_beyond_those_of_the_circuit_are_not_stored() {
    let members = ["private"];
    let parse = |json: &str, max| Inputs::parse_members(json.as_bytes(), &members, max);
    let many = format!(r#"{{"private": {{"a": 7, "b": [{}1], "c": 1}}}}"#, "1,".repeat(1_000_000));
    let inputs = parse(&many, 3).unwrap();
    let lengths = |signal: &Signal| (signal.given, signal.values.len());
    let lengths: Vec<_> = inputs.signals.iter().map(lengths).collect();
    assert_eq!(lengths, [(1, 1), (1_000_001, 2), (1, 0)]);
    assert!(inputs.signals.iter().all(|signal| signal.values.capacity() <= 4));
    // Faults are found there too, and their positions are right.
    let error = parse(r#"{"private": {"a": [1, 2, 3, true]}}"#, 1).unwrap_err().error;
    assert_eq!(error, InputError::NotAnInteger { signal: "a".to_owned(), position: 3 });
    let error = parse(r#"{"private": {"a": [1, {"b": 1}]}}"#, 0).unwrap_err().error;
    assert_eq!(error, InputError::NotAnInteger { signal: "a".to_owned(), position: 1 });

    let signals = |count: u32| {
        let list: Vec<_> = (0..count).map(|index| format!(r#""s{index}": []"#)).collect();
        format!(r#"{{"private": {{{}}}}}"#, list.join(","))
    };
    assert!(parse(&signals(1002), 2).is_ok());
    let error = parse(&signals(1003), 2).unwrap_err().error;
    assert_eq!(error, InputError::TooManySignals { expected: 2, limit: 1002 });
}

#[test]
fn json_errors_give_a_position_and_no_text() {
    assert_eq!(parse("{\"a\":\n 4242x}").unwrap_err(), InputError::NotJson { line: 2, column: 6 });
    for json in ["[1]", "4242", r#""4242""#, "null", "true", "1.5"] {
        assert_eq!(parse(json).unwrap_err(), InputError::NotAnObject, "{json}");
    }
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(matches!(parse(&deep).unwrap_err(), InputError::NotJson { line: 1, .. }));
    assert!(matches!(parse("{\"a\": 1} 2").unwrap_err(), InputError::NotJson { .. }));
}

#[test]
fn members_of_a_document_are_read_together() {
    let members = ["private", "public"];
    let error = |json: &str| Inputs::parse_members(json.as_bytes(), &members, 8).unwrap_err();
    let duplicate = error(r#"{"private": {"a": 1}, "public": {"a": 2}}"#);
    assert_eq!(duplicate, MemberError { member: 1, error: InputError::Duplicate { signal: "a".to_owned() } });
    let wrong = error(r#"{"public": {"a": 1}, "private": {"b": [1, true]}}"#);
    let not_an_integer = InputError::NotAnInteger { signal: "b".to_owned(), position: 1 };
    assert_eq!(wrong, MemberError { member: 0, error: not_an_integer });
    assert_eq!(error(r#"{"public": [1]}"#).error, InputError::NotAnObject);
    assert!(matches!(error("[1]").error, InputError::NotJson { .. }));
    let none = Inputs::parse_members(br#"{"other": {"a": true}}"#, &members, 8).unwrap();
    assert_eq!(none.names().count(), 0);
}

#[test]
fn inputs_show_no_values() {
    let inputs = Inputs::parse(br#"{"secret": 4242}"#).unwrap();
    assert_eq!(format!("{inputs:?}"), r#"["secret"]"#);
}
