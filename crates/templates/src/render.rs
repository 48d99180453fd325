//! Prints parameters as source text.
//!
//! A parameter has a type, and its value is printed from that type: digits, `true` or `false`, or the position of a text
//! in its enum. No text of a caller becomes source text.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    names::{self, Language},
    parameters::Parameters,
    schema::{ParameterValue, PropertyType},
    template::{CIRCOM_MAIN, CIRCOM_TEMPLATE, CircomMain, NOIR_PARAMETERS, Template, choice_constant},
};

/// The files of a circuit, by their paths in its folder: the template's own, and the one with the parameters.
pub(crate) fn files(template: &Template, parameters: &Parameters) -> BTreeMap<String, String> {
    let mut files = template.sources().clone();
    match template.language() {
        Language::Noir => {
            if let Some(text) = noir_parameters(template, parameters) {
                files.insert(NOIR_PARAMETERS.to_owned(), text);
            }
        }
        Language::Circom => {
            if let Some(main) = template.circom() {
                files.insert(CIRCOM_MAIN.to_owned(), circom_main(template, main, parameters));
            }
        }
    }
    files
}

/// The module with the constants; `None` for a template without parameters.
fn noir_parameters(template: &Template, parameters: &Parameters) -> Option<String> {
    let mut text = String::from("//! The parameters of this circuit. Generated.\n");
    let mut constants = 0;
    for (name, value) in parameters.iter() {
        let kind = &template.parameters().properties.get(name)?.kind;
        constants += 1;
        let constant = names::constant(name);
        let _ = writeln!(text, "\npub global {constant}: {} = {};", noir_type(kind), printed(kind, value));
        if let PropertyType::Choice(texts) = kind {
            for (index, choice) in texts.iter().enumerate() {
                let _ = writeln!(text, "pub global {}: u32 = {index};", choice_constant(name, choice));
            }
        }
    }
    (constants > 0).then_some(text)
}

/// The type of a constant. A `u32` can be the length of an array.
fn noir_type(kind: &PropertyType) -> &'static str {
    match kind {
        PropertyType::Integer { minimum: ..0, .. } => "i64",
        PropertyType::Integer { maximum, .. } if *maximum <= u32::MAX.into() => "u32",
        PropertyType::Integer { .. } => "u64",
        PropertyType::Boolean => "bool",
        PropertyType::Choice(_) => "u32",
    }
}

fn circom_main(template: &Template, main: &CircomMain, parameters: &Parameters) -> String {
    let arguments = main.arguments.iter().filter_map(|name| {
        let kind = &template.parameters().properties.get(name)?.kind;
        Some(match parameters.get(name)? {
            // circom has no booleans.
            ParameterValue::Boolean(value) => u8::from(*value).to_string(),
            value => printed(kind, value),
        })
    });
    let arguments: Vec<_> = arguments.collect();
    let inputs: Vec<_> = template.public_inputs().iter().map(|input| input.name.as_str()).collect();
    format!(
        "// The main component of this circuit, with its parameters. Generated.\n\npragma circom 2.1.0;\n\n\
         include \"{CIRCOM_TEMPLATE}\";\n\ncomponent main {{ public [{}] }} = {}({});\n",
        inputs.join(", "),
        main.template,
        arguments.join(", ")
    )
}

fn printed(kind: &PropertyType, value: &ParameterValue) -> String {
    match (kind, value) {
        (PropertyType::Choice(texts), ParameterValue::Choice(text)) => {
            texts.iter().take_while(|other| *other != text).count().to_string()
        }
        (_, ParameterValue::Integer(value)) => value.to_string(),
        (_, ParameterValue::Boolean(value)) => value.to_string(),
        // Parameters are checked against the same schema, so a text belongs to an enum.
        (_, ParameterValue::Choice(_)) => String::new(),
    }
}
