//! The document as a page for people: every operation with its parameters, bodies, answers and problems, without a script.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::problem;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::document::document;

/// The page with its content security policy.
pub(super) struct Page {
    /// The page.
    pub(super) html: String,
    /// The policy: the page has one style, and loads nothing.
    pub(super) policy: String,
}

/// The page, made at the first use.
pub(super) static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    Page {
        html: page(&document()).into_string(),
        policy: format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    }
});

const STYLE: &str = include_str!("page.css");

fn page(document: &Value) -> Markup {
    let info = &document["info"];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (text(&info["title"])) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (text(&info["title"])) " API" }
                    p { (text(&info["summary"])) " Version " (text(&info["version"])) ". For programs: "
                        a href="openapi.json" { "openapi.json" } "." }
                    p { (text(&info["description"]).replace('`', "")) }
                }
                nav aria-label="Operations" {
                    @for tag in items(&document["tags"]) {
                        h2 { (text(&tag["name"])) }
                        ul {
                            @for (path, method, operation) in operations(document, text(&tag["name"])) {
                                li { a href={ "#" (text(&operation["operationId"])) } {
                                    span class={ "method " (method) } { (method.to_uppercase()) } " " code { (path) }
                                } }
                            }
                        }
                    }
                }
                main {
                    @for tag in items(&document["tags"]) {
                        section {
                            h2 { (text(&tag["name"])) }
                            p { (text(&tag["description"])) }
                            @for (path, method, described) in operations(document, text(&tag["name"])) {
                                (operation(path, method, described))
                            }
                        }
                    }
                    section id="schemas" {
                        h2 { "Schemas" }
                        @for (name, schema) in members(&document["components"]["schemas"]) {
                            details id={ "schema-" (name) } {
                                summary { code { (name) } " " (text(&schema["description"])) }
                                (schema_text(schema))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The operations of a group: path, method and description.
fn operations<'a>(document: &'a Value, tag: &str) -> Vec<(&'a str, &'a str, &'a Value)> {
    let paths = members(&document["paths"]);
    let all = paths.flat_map(|(path, methods)| {
        members(methods).map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.filter(|(_, _, operation)| operation["tags"][0] == tag).collect()
}

fn operation(path: &str, method: &str, operation: &Value) -> Markup {
    html! {
        article id=(text(&operation["operationId"])) {
            h3 { span class={ "method " (method) } { (method.to_uppercase()) } " " code { (path) } }
            p { (text(&operation["summary"])) }
            @if items(&operation["parameters"]).next().is_some() {
                table {
                    caption { "Parameters" }
                    thead { tr { th { "Name" } th { "In" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for parameter in items(&operation["parameters"]) {
                            tr {
                                td { code { (text(&parameter["name"])) } @if parameter["required"] == true { " *" } }
                                td { (text(&parameter["in"])) }
                                td { code { (short(&parameter["schema"])) } }
                                td { (text(&parameter["description"]).replace('`', "")) }
                            }
                        }
                    }
                }
            }
            @if operation["requestBody"].is_object() {
                h4 { "Body" }
                @for (media, body) in members(&operation["requestBody"]["content"]) {
                    (media_type(media, &body["schema"]))
                }
            }
            h4 { "Answers" }
            @for (status, response) in members(&operation["responses"]) {
                div.answer {
                    strong { (status) } " "
                    @if let Some(codes) = problem_codes(response) {
                        @for code in codes {
                            a href={ "problems/" (text(code)) } { code { (text(code)) } } " "
                        }
                    } @else {
                        (text(&response["description"]))
                        @for (media, body) in members(&response["content"]) { (media_type(media, &body["schema"])) }
                        @if response["headers"].is_object() {
                            p { "Headers: "
                                @for (name, _) in members(&response["headers"]) { code { (name) } " " } }
                        }
                    }
                }
            }
        }
    }
}

/// The codes of the problems, where a response has nothing else.
fn problem_codes(response: &Value) -> Option<&Vec<Value>> {
    let content = response["content"].as_object().filter(|content| content.len() == 1)?;
    content.get(problem::MEDIA_TYPE)?.pointer("/schema/allOf/1/properties/code/enum")?.as_array()
}

fn media_type(media: &str, schema: &Value) -> Markup {
    html! {
        @if let Some(name) = referred(schema) {
            p.media { code { (media) } ": " a href={ "#schema-" (name) } { (name) } }
        } @else if schema["properties"].is_object() {
            details { summary { code { (media) } } (schema_text(schema)) }
        } @else {
            p.media { code { (media) } }
        }
    }
}

/// A schema as its JSON. Nothing of it comes from a caller.
fn schema_text(schema: &Value) -> Markup {
    html! { pre tabindex="0" { (serde_json::to_string_pretty(schema).unwrap_or_default()) } }
}

/// The name of the schema that is referred to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// A simple schema in few words.
fn short(schema: &Value) -> String {
    match &schema["enum"] {
        Value::Array(words) => words.iter().map(text).collect::<Vec<_>>().join(" | "),
        _ => text(&schema["type"]).to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_and_loads_nothing() {
        let Page { html, policy } = &*PAGE;
        let document = document();
        let mut found = 0;
        for (path, methods) in members(&document["paths"]) {
            for (_, operation) in members(methods) {
                let id = text(&operation["operationId"]);
                assert!(html.contains(&format!("<article id=\"{id}\">")), "{path}");
                found += 1;
            }
        }
        assert!(found > 40, "{found}");
        assert!(!html.contains("<script") && !html.contains("src="), "it loads something");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    }
}
