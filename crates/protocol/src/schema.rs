//! JSON Schemas of the words that are texts on the wire, whose types are no plain texts.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{CircuitId, JobId, Priority, ProblemCode, TraceContext, work::LeaseSecret};

macro_rules! texts {
    ($($type:ident: $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

texts! {
    CircuitId: {
        "description": "The name of a circuit.",
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{1,64}$",
    };
    JobId: {
        "description": "The id of a job: a random UUID; behind an edge whose containers keep their own jobs, the number of the \
                        container comes first.",
        "type": "string",
        "pattern": "^(c[0-9]{1,4}-)?[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    };
    Priority: {
        "description": "The priority of a proof or job.",
        "type": "string",
        "enum": (Priority::ALL.map(Priority::as_str)),
    };
    ProblemCode: {
        "description": "The stable code of a problem. A newer server may have codes that this document does not have.",
        "type": "string",
        "pattern": "^[a-z0-9_]{1,64}$",
    };
    TraceContext: {
        "description": "A W3C trace context, as in the header traceparent.",
        "type": "string",
    };
    LeaseSecret: {
        "description": "The secret of a lease.",
        "type": "string",
    };
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;

    use super::*;

    #[test]
    fn priorities_are_those_of_the_code() {
        let schema = schema_for!(Priority);
        assert_eq!(schema.get("enum").unwrap()[3], Priority::Critical.as_str());
    }
}
