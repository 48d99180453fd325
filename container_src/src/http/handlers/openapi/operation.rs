//! What the document has of an operation.

use std::collections::{BTreeMap, BTreeSet};

use edgeprove_protocol::{ProblemType, endpoints::Method, problem};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::schemas::{self, Schemas};

/// A group of operations, for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// What the service is.
    Service,
    /// Proofs.
    Proofs,
    /// Jobs.
    Jobs,
    /// Circuits, their templates and contracts.
    Circuits,
    /// Figures.
    Figures,
    /// For operators.
    Operators,
    /// Provers that pull.
    Work,
    /// Probes.
    Probes,
}

impl Tag {
    /// Every group, in the order of the document.
    pub const ALL: [Self; 8] = [
        Self::Proofs,
        Self::Jobs,
        Self::Circuits,
        Self::Service,
        Self::Figures,
        Self::Operators,
        Self::Work,
        Self::Probes,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Proofs => "Proofs",
            Self::Jobs => "Jobs",
            Self::Circuits => "Circuits",
            Self::Figures => "Figures",
            Self::Operators => "Operators",
            Self::Work => "Provers that pull",
            Self::Probes => "Probes",
        }
    }

    /// What belongs to it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Service => "What the service is: endpoints, versions, keys, problem types.",
            Self::Proofs => "Make and verify proofs.",
            Self::Jobs => "Proofs that are made while nobody waits.",
            Self::Circuits => "Circuits, their templates, keys and contracts.",
            Self::Figures => "Queue, durations and estimates.",
            Self::Operators => "For operators of the service.",
            Self::Work => "Give jobs to provers that pull, and take their outcomes.",
            Self::Probes => "For platforms and monitors.",
        }
    }
}

/// An operation.
pub struct Operation {
    /// Its method.
    pub method: Method,
    /// Its path, as in the table of endpoints.
    pub path: &'static str,
    /// Its name.
    pub id: &'static str,
    tag: Tag,
    parameters: Vec<Value>,
    /// Media types of the body, each with its schema.
    body: Vec<(String, Value)>,
    is_body_required: bool,
    answers: BTreeMap<u16, Answer>,
    /// The problems that it may answer with, without those that every request may get.
    pub problems: BTreeSet<ProblemType>,
}

#[derive(Default)]
struct Answer {
    description: &'static str,
    content: Vec<(&'static str, Content)>,
    headers: Vec<&'static str>,
}

/// The schema of an answer, which is made when the document is.
type Content = Box<dyn Fn(&mut Schemas) -> Value>;

impl Operation {
    /// An operation. It has the problems that every request may get.
    #[must_use]
    pub fn new(method: Method, path: &'static str, id: &'static str, tag: Tag) -> Self {
        let answers = BTreeMap::new();
        let (parameters, body, problems) = (Vec::new(), Vec::new(), super::problems::EVERY.into());
        Self { method, path, id, tag, parameters, body, is_body_required: true, answers, problems }
    }

    /// A `GET`.
    #[must_use]
    pub fn get(path: &'static str, id: &'static str, tag: Tag) -> Self {
        Self::new(Method::Get, path, id, tag)
    }

    /// A `POST`.
    #[must_use]
    pub fn post(path: &'static str, id: &'static str, tag: Tag) -> Self {
        Self::new(Method::Post, path, id, tag)
    }

    /// A `DELETE`.
    #[must_use]
    pub fn delete(path: &'static str, id: &'static str, tag: Tag) -> Self {
        Self::new(Method::Delete, path, id, tag)
    }

    /// A parameter of the query, which may be left out.
    #[must_use]
    pub fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("query", name, schema, description)
    }

    /// A header of the request, which may be left out.
    #[must_use]
    pub fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("header", name, schema, description)
    }

    fn parameter(mut self, place: &str, name: &str, schema: Value, description: &str) -> Self {
        let mut parameter = json!({ "name": name, "in": place, "description": description });
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// The last parameter may not be left out.
    #[must_use]
    pub fn required(mut self) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            last["required"] = true.into();
        }
        self
    }

    /// A body that is accepted.
    #[must_use]
    pub fn accepts(mut self, media: &str, schema: Value) -> Self {
        self.body.push((media.to_owned(), schema));
        self
    }

    /// An answer of JSON.
    #[must_use]
    pub fn answers<T: JsonSchema + 'static>(self, status: u16, description: &'static str) -> Self {
        self.answers_with(status, description, "application/json", Schemas::of::<T>)
    }

    /// An answer of another media type.
    #[must_use]
    pub fn answers_with(
        mut self,
        status: u16,
        description: &'static str,
        media: &'static str,
        content: impl Fn(&mut Schemas) -> Value + 'static,
    ) -> Self {
        let answer = self.answers.entry(status).or_default();
        answer.description = description;
        answer.content.push((media, Box::new(content)));
        self
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_empty(mut self, status: u16, description: &'static str) -> Self {
        self.answers.entry(status).or_default().description = description;
        self
    }

    /// Headers of the answers with this status.
    #[must_use]
    pub fn with_headers(mut self, status: u16, names: &[&'static str]) -> Self {
        self.answers.entry(status).or_default().headers.extend(names);
        self
    }

    /// Problems that it may answer with.
    #[must_use]
    pub fn problems(mut self, kinds: &[ProblemType]) -> Self {
        self.problems.extend(kinds);
        self
    }

    /// Its part of the document.
    pub(super) fn document(self, summary: &str, security: Value, schemas: &mut Schemas) -> Value {
        let mut parameters = path_parameters(self.path);
        parameters.extend(self.parameters);
        let mut responses = Map::new();
        for (status, answer) in self.answers {
            responses.insert(status.to_string(), answer.document(schemas));
        }
        let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
        for kind in self.problems {
            by_status.entry(kind.status()).or_default().push(kind);
        }
        for (status, kinds) in by_status {
            let problem = problem_response(&kinds, schemas);
            // Health has answers of 500 that are no problems.
            let response = responses.entry(status.to_string()).or_insert_with(|| json!({ "content": {} }));
            if response["description"].is_null() {
                response["description"] = problem["description"].clone();
            }
            response["content"][problem::MEDIA_TYPE] = problem["content"][problem::MEDIA_TYPE].clone();
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag.name()],
            "summary": summary,
            "responses": responses,
        });
        operation["security"] = security;
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if !self.body.is_empty() {
            let content: Map<_, _> =
                self.body.into_iter().map(|(media, schema)| (media, json!({ "schema": schema }))).collect();
            operation["requestBody"] = json!({ "required": self.is_body_required, "content": content });
        }
        operation
    }
}

impl Answer {
    fn document(self, schemas: &mut Schemas) -> Value {
        let mut response = json!({ "description": self.description });
        if !self.content.is_empty() {
            let content: Map<_, _> = self
                .content
                .into_iter()
                .map(|(media, content)| (media.to_owned(), json!({ "schema": content(schemas) })))
                .collect();
            response["content"] = content.into();
        }
        if !self.headers.is_empty() {
            let headers: Map<_, _> = self
                .headers
                .into_iter()
                .map(|name| (name.to_owned(), json!({ "schema": schemas::text() })))
                .collect();
            response["headers"] = headers.into();
        }
        response
    }
}

/// The parameters that a path has.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let (schema, description) = match name {
            "circuit" => {
                (json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }), "The name of a circuit.")
            }
            "id" | "job" => (json!({ "type": "string" }), "The id of a job."),
            "code" => (json!({ "type": "string" }), "The code of a problem."),
            _ => (json!({ "type": "string" }), "A name."),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description })
    };
    names.map(parameter).collect()
}

/// The problems of one status. Their codes are listed, and the schema has the same ones.
fn problem_response(kinds: &[ProblemType], schemas: &mut Schemas) -> Value {
    let codes: Vec<_> = kinds.iter().map(|kind| kind.code()).collect();
    let problem = schemas.of::<edgeprove_protocol::Problem>();
    json!({
        "description": format!("Problems: {}.", codes.join(", ")),
        "content": { problem::MEDIA_TYPE: {
            "schema": { "allOf": [problem, { "properties": { "code": { "enum": codes } } }] },
        } },
    })
}
