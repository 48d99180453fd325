//! Reads inputs from JSON straight into field elements, guided by the types of the ABI.

use std::fmt::{self, Write as _};

use acir::FieldElement;
use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Abi, Flattened, Parameter, Sign, Type,
    integer::{Integer, NotAnInteger},
};
use crate::proof_systems::inputs::{
    Fault, InputDocument, InputError, PRIVATE_INPUTS, PUBLIC_INPUTS, listed, shown,
};

/// Checks inputs against the ABI, and returns their values.
pub(super) fn read(abi: &Abi, inputs: &InputDocument) -> Result<Flattened, InputError> {
    let mut reader = Reader { values: Flattened::zeros(abi.fields), path: Vec::new(), error: None };
    let mut seen = vec![false; abi.parameters.len()];
    let mut deserializer = serde_json::Deserializer::from_slice(inputs.json());
    let document = Document { reader: &mut reader, abi, seen: &mut seen };
    let read = deserializer.deserialize_any(document).and_then(|()| deserializer.end());
    if let Err(error) = read {
        return Err(reader.error.unwrap_or_else(|| InputError::not_json(&error)));
    }
    if let Some((parameter, _)) = abi.parameters.iter().zip(seen).find(|(_, seen)| !seen) {
        let member = if parameter.is_public { PUBLIC_INPUTS } else { PRIVATE_INPUTS };
        reader.path = vec![Step::Field(member), Step::Field(&parameter.name)];
        return Err(reader.fault(Fault::Missing { expected: parameter.kind.to_string() }));
    }
    Ok(reader.values)
}

/// One step of a path into the inputs.
enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

/// The values so far, and where in the inputs the reader is.
struct Reader<'a> {
    values: Flattened,
    path: Vec<Step<'a>>,
    /// The reason of the error that the deserializer returns.
    error: Option<InputError>,
}

impl<'a> Reader<'a> {
    fn fault(&self, fault: Fault) -> InputError {
        let mut field = String::new();
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Field(name) if field.is_empty() => write!(field, "{name}"),
                Step::Field(name) => write!(field, ".{name}"),
                Step::Element(index) => write!(field, "[{index}]"),
            };
        }
        InputError::Field { field, fault }
    }

    fn fail<E: de::Error>(&mut self, fault: Fault) -> E {
        self.error = Some(self.fault(fault));
        E::custom("")
    }

    /// Reads a value one step further down.
    fn within<T, E>(&mut self, step: Step<'a>, read: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.path.push(step);
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }

    /// An error about the field of an object whose name no field has.
    fn unknown<'n, E: de::Error>(&mut self, name: &str, known: impl ExactSizeIterator<Item = &'n str>) -> E {
        let expected = listed(known);
        let InputError::Field { field, fault } = self.fault(Fault::Unknown { expected }) else {
            return E::custom("");
        };
        self.error = Some(InputError::Field { field: format!("{field}.{}", shown(name)), fault });
        E::custom("")
    }
}

/// The whole document.
struct Document<'r, 'a> {
    reader: &'r mut Reader<'a>,
    abi: &'a Abi,
    /// Which parameters have a value.
    seen: &'r mut [bool],
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { reader, abi, seen } = self;
        while let Some(name) = members.next_key::<String>()? {
            let (member, is_public) = match name.as_str() {
                PRIVATE_INPUTS => (PRIVATE_INPUTS, false),
                PUBLIC_INPUTS => (PUBLIC_INPUTS, true),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            reader.within(Step::Field(member), |reader| {
                members.next_value_seed(Parameters { reader, abi, seen, is_public })
            })?;
        }
        Ok(())
    }
}

/// The private or the public parameters.
struct Parameters<'r, 'a> {
    reader: &'r mut Reader<'a>,
    abi: &'a Abi,
    seen: &'r mut [bool],
    is_public: bool,
}

impl<'de> DeserializeSeed<'de> for Parameters<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Parameters<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { reader, abi, seen, is_public } = self;
        let parameters = &abi.parameters;
        while let Some(name) = members.next_key::<String>()? {
            let Some(index) = parameters.iter().position(|parameter| parameter.name == name) else {
                let known: Vec<_> =
                    parameters.iter().filter(|parameter| parameter.is_public == is_public).collect();
                let known = known.into_iter().map(|parameter| parameter.name.as_str());
                return Err(reader.unknown(&name, known));
            };
            let Parameter { name, kind, is_public: belongs_to_public } = &parameters[index];
            let at = parameters[..index].iter().map(|parameter| parameter.kind.size()).sum();
            reader.within(Step::Field(name), |reader| {
                if *belongs_to_public != is_public {
                    let fault = if is_public { Fault::IsPrivate } else { Fault::IsPublic };
                    return Err(reader.fail(fault));
                }
                if std::mem::replace(&mut seen[index], true) {
                    return Err(reader.fail(Fault::Twice));
                }
                members.next_value_seed(Input { reader, kind, at })
            })?;
        }
        Ok(())
    }
}

/// One value of a type, whose field elements begin at an index.
struct Input<'r, 'a> {
    reader: &'r mut Reader<'a>,
    kind: &'a Type,
    at: usize,
}

impl<'de> DeserializeSeed<'de> for Input<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Input<'_, '_> {
    fn mismatch<E: de::Error>(self, found: impl Into<String>) -> E {
        let expected = self.kind.to_string();
        self.reader.fail(Fault::Mismatch { expected, found: found.into() })
    }

    fn put(self, value: FieldElement) {
        self.reader.values.0[self.at] = value;
    }

    fn put_integer<E: de::Error>(self, integer: &Integer) -> Result<(), E> {
        let value = match *self.kind {
            Type::Field => integer.to_field(),
            Type::Boolean => integer.to_bits(false, 1),
            Type::Integer { sign, width } => integer.to_bits(sign == Sign::Signed, width),
            Type::String { .. } | Type::Array { .. } | Type::Tuple { .. } | Type::Struct { .. } => {
                return Err(self.mismatch("a number"));
            }
        };
        match value {
            Some(value) => {
                self.put(value);
                Ok(())
            }
            None if integer.is_negative() => Err(self.mismatch("a negative number out of range")),
            None => Err(self.mismatch("a number out of range")),
        }
    }
}

impl<'de> Visitor<'de> for Input<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an input")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Type::Boolean => {
                self.put(FieldElement::from(value));
                Ok(())
            }
            _ => Err(self.mismatch("a boolean")),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.put_integer(&Integer::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.put_integer(&Integer::from(value))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        let found = match self.kind {
            Type::Field | Type::Integer { .. } => {
                "a number with a fraction, an exponent or more than 64 bits (write larger integers as strings)"
            }
            _ => "a number",
        };
        Err(self.mismatch(found))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.mismatch("null"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match *self.kind {
            Type::String { length } => {
                if text.len() != length as usize {
                    return Err(self.mismatch(format!("a string of {} bytes", text.len())));
                }
                for (value, byte) in self.reader.values.0[self.at..].iter_mut().zip(text.bytes()) {
                    *value = FieldElement::from(u128::from(byte));
                }
                Ok(())
            }
            Type::Field | Type::Boolean | Type::Integer { .. } => match Integer::parse(text) {
                // As noir_js: a string is negative for signed integers only.
                Ok(integer) if integer.is_negative() && *self.kind == Type::Field => {
                    Err(self.mismatch("a string with a negative number"))
                }
                Ok(integer) => self.put_integer(&integer),
                Err(NotAnInteger::TooLarge) => Err(self.mismatch("a number out of range")),
                Err(NotAnInteger::Digits) => {
                    Err(self.mismatch("a string that is neither decimal nor 0x with hexadecimal digits"))
                }
            },
            Type::Array { .. } | Type::Tuple { .. } | Type::Struct { .. } => Err(self.mismatch("a string")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let kind = self.kind;
        let mut at = self.at;
        let types: Box<dyn Iterator<Item = &Type>> = match kind {
            Type::Array { length, element } => {
                Box::new(std::iter::repeat_n(element.as_ref(), *length as usize))
            }
            Type::Tuple { fields } => Box::new(fields.iter()),
            _ => return Err(self.mismatch("an array")),
        };
        for (count, kind) in types.enumerate() {
            let read = self.reader.within(Step::Element(count), |reader| {
                elements.next_element_seed(Input { reader, kind, at })
            })?;
            if read.is_none() {
                return Err(self.mismatch(format!("an array of {count} elements")));
            }
            at += kind.size();
        }
        match elements.next_element::<IgnoredAny>()? {
            Some(IgnoredAny) => Err(self.mismatch("an array with more elements")),
            None => Ok(()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Type::Struct { fields } = self.kind else { return Err(self.mismatch("an object")) };
        let Self { reader, at, .. } = self;
        let mut seen = vec![false; fields.len()];
        while let Some(name) = members.next_key::<String>()? {
            let Some(index) = fields.iter().position(|field| field.name == name) else {
                return Err(reader.unknown(&name, fields.iter().map(|field| field.name.as_str())));
            };
            let field = &fields[index];
            let offset: usize = fields[..index].iter().map(|field| field.kind.size()).sum();
            reader.within(Step::Field(&field.name), |reader| {
                if std::mem::replace(&mut seen[index], true) {
                    return Err(reader.fail(Fault::Twice));
                }
                members.next_value_seed(Input { reader, kind: &field.kind, at: at + offset })
            })?;
        }
        match fields.iter().zip(seen).find(|(_, seen)| !seen) {
            Some((field, _)) => reader.within(Step::Field(&field.name), |reader| {
                Err(reader.fail(Fault::Missing { expected: field.kind.to_string() }))
            }),
            None => Ok(()),
        }
    }
}
