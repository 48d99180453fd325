//! Inputs of a circuit, from JSON in the shape that snarkjs reads.
//!
//! An object maps the names of input signals to values. A value is a JSON integer of at most 64 bits, or a string with
//! a decimal or `0x` integer. A negative value means its additive inverse. Arrays of any depth are flattened in order.
//! The fields of a bus are an object (`{"point": {"x": 1}}` gives the signal `point.x`), and arrays of objects are
//! numbered (`points[0].x`).

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::field::{self, Limbs, ValueProblem};

/// The longest JSON text. [`Inputs::parse`] may take 40 times as much memory: a value of two characters becomes 32 bytes.
pub const MAX_INPUT_BYTES: usize = 8 << 20;

/// The most bytes of the names of all signals.
pub const MAX_NAME_BYTES: usize = 1 << 20;

/// Signals that a document may have beside one for each value: signals without values.
const EMPTY_SIGNALS_MAX: u32 = 1000;

/// Characters of a signal's name that an error shows.
const MAX_SHOWN_NAME: usize = 80;

/// The values of a circuit's input signals. They are overwritten when this is dropped.
///
/// ```
/// use edgeprove_circom_witness::{InputError, Inputs};
///
/// let inputs = Inputs::parse(br#"{"in": 50, "path": [["1", "0x02"], [-3, 4]]}"#)?;
/// assert_eq!(inputs.names().collect::<Vec<_>>(), ["in", "path"]);
///
/// let error = Inputs::parse(br#"{"path": [1, 2.5]}"#).unwrap_err();
/// assert!(error.to_string().starts_with(r#"input "path", value 1: expected an integer"#));
/// # Ok::<(), InputError>(())
/// ```
pub struct Inputs {
    signals: Vec<Signal>,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

/// An input signal with its flattened values.
pub(crate) struct Signal {
    pub(crate) name: String,
    /// The member of the document that has it.
    member: usize,
    /// The first values, as many as a circuit can take.
    pub(crate) values: Vec<Zeroizing<Limbs>>,
    /// How many values the document has.
    pub(crate) given: usize,
}

/// Inputs that a circuit cannot have. Positions count from 0 in the flattened array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The JSON text is too long.
    #[error("the inputs have {bytes} bytes; at most {MAX_INPUT_BYTES} are accepted")]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The text is not JSON.
    #[error("the inputs are not valid JSON: line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The JSON is not an object.
    #[error("the inputs must be a JSON object that maps the names of input signals to values")]
    NotAnObject,
    /// The names of the signals are too long.
    #[error("the names of the inputs have more than {MAX_NAME_BYTES} bytes in all")]
    NamesTooLong,
    /// There are more signals than the circuit can have.
    #[error("there are more than {limit} inputs, and the circuit has {expected} values in all of its inputs")]
    TooManySignals {
        /// The number of values of all input signals.
        expected: u32,
        /// The most signals.
        limit: u32,
    },
    /// A signal has values twice.
    #[error("input {} is given twice", shown(signal))]
    Duplicate {
        /// The name.
        signal: String,
    },
    /// A value is no integer.
    #[error(
        "input {}, value {position}: expected an integer, as a JSON number of at most 64 bits or as a string with \
         decimal digits or `0x` and hexadecimal digits",
        shown(signal)
    )]
    NotAnInteger {
        /// The name.
        signal: String,
        /// Counted from 0.
        position: usize,
    },
    /// A value is not below the field's modulus. snarkjs would reduce it without an error.
    #[error(
        "input {}, value {position}: expected an integer below the modulus of BN254's scalar field",
        shown(signal)
    )]
    NotBelowModulus {
        /// The name.
        signal: String,
        /// Counted from 0.
        position: usize,
    },
    /// The circuit has no such input signal.
    #[error("the circuit has no input {}", shown(signal))]
    UnknownSignal {
        /// The name.
        signal: String,
    },
    /// A signal has too few or too many values.
    #[error("input {}: expected {expected} values, got {given}", shown(signal))]
    WrongLength {
        /// The name.
        signal: String,
        /// The number that the circuit needs.
        expected: u32,
        /// The number in the inputs.
        given: usize,
    },
    /// Input signals have no value.
    #[error("inputs are missing: the circuit needs {expected} values, got {given}")]
    Missing {
        /// The number of values of all input signals.
        expected: u32,
        /// The number in the inputs.
        given: u32,
    },
}

/// What is wrong with inputs that are in several members of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct MemberError {
    /// The index of the member among those that were asked for. It means nothing for text that is not JSON.
    pub member: usize,
    /// What is wrong.
    pub error: InputError,
}

/// A name in an error: quoted, and cut off where it is long.
fn shown(name: &str) -> String {
    let cut: String = name.chars().take(MAX_SHOWN_NAME).collect();
    let dots = if cut.len() < name.len() { "..." } else { "" };
    format!("{cut:?}{dots}")
}

impl Inputs {
    /// Reads inputs from JSON. The first fault ends the reading.
    pub fn parse(json: &[u8]) -> Result<Self, InputError> {
        Self::read(json, None, u32::MAX).map_err(|MemberError { error, .. }| error)
    }

    /// Reads inputs that are divided among members of a JSON object, such as private and public ones. Other members are
    /// skipped. No signal may be in two of them. `values_max` is the number of values of all inputs of the circuit
    /// ([`Circuit::input_size`](crate::Circuit::input_size)): further values are counted and not stored, so that memory
    /// does not grow with the text.
    ///
    /// ```
    /// use edgeprove_circom_witness::Inputs;
    ///
    /// let json = br#"{"name": "range", "private": {"in": 50}, "public": {"randomPublicSignal": 7}}"#;
    /// let inputs = Inputs::parse_members(json, &["private", "public"], 2).unwrap();
    /// assert_eq!(inputs.names().collect::<Vec<_>>(), ["in", "randomPublicSignal"]);
    /// assert_eq!(inputs.member_of("randomPublicSignal"), Some(1));
    /// ```
    pub fn parse_members(json: &[u8], members: &[&str], values_max: u32) -> Result<Self, MemberError> {
        Self::read(json, Some(members), values_max)
    }

    fn read(json: &[u8], members: Option<&[&str]>, values_max: u32) -> Result<Self, MemberError> {
        if json.len() > MAX_INPUT_BYTES {
            return Err(MemberError { member: 0, error: InputError::TooLong { bytes: json.len() } });
        }
        let mut reader = Reader { values_max, ..Reader::default() };
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let read = match members {
            None => Root(&mut reader).deserialize(&mut deserializer),
            Some(members) => deserializer.deserialize_map(Document { reader: &mut reader, members }),
        };
        match read.and_then(|()| deserializer.end()) {
            Ok(()) => Ok(Self { signals: reader.signals }),
            Err(error) => {
                let member = reader.member;
                Err(MemberError { member, error: reader.fault.unwrap_or_else(|| not_json(&error)) })
            }
        }
    }

    /// The index of the member that has a signal; `None` where there is no such signal.
    #[must_use]
    pub fn member_of(&self, name: &str) -> Option<usize> {
        self.signals.iter().find(|signal| signal.name == name).map(|signal| signal.member)
    }

    /// The names of the signals, in the order of the JSON.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.signals.iter().map(|signal| signal.name.as_str())
    }

    pub(crate) fn signals(&self) -> &[Signal] {
        &self.signals
    }
}

/// serde's own message may quote the text, so only its position goes into the error.
fn not_json(error: &serde_json::Error) -> InputError {
    InputError::NotJson { line: error.line(), column: error.column() }
}

/// The signals that have been read. No tree of values is built: it would take many times the memory of the text.
#[derive(Default)]
struct Reader {
    signals: Vec<Signal>,
    names: BTreeSet<String>,
    name_bytes: usize,
    /// The values of all signals that were stored, and the most.
    values: u32,
    values_max: u32,
    /// The member of the document that is being read.
    member: usize,
    /// The reason of the error that the deserializer returns.
    fault: Option<InputError>,
}

impl Reader {
    fn fail<E: de::Error>(&mut self, fault: InputError) -> E {
        self.fault = Some(fault);
        E::custom("")
    }

    /// Counts a name that is about to be built. The names of a long list of buses repeat the name of the list.
    fn count_name<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.name_bytes = self.name_bytes.saturating_add(bytes);
        if self.name_bytes > MAX_NAME_BYTES { Err(self.fail(InputError::NamesTooLong)) } else { Ok(()) }
    }

    /// Reads the members of an object: signals, or the fields of the bus `bus`.
    fn members<'de, A: MapAccess<'de>>(&mut self, bus: Option<&str>, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            self.count_name(bus.map_or(0, str::len) + key.len())?;
            let name = bus.map_or_else(|| key.clone(), |bus| format!("{bus}.{key}"));
            let mut signal = Signal { name, member: self.member, values: Vec::new(), given: 0 };
            let mut indices = Vec::new();
            let mut has_fields = false;
            let node = Node {
                reader: self,
                signal: &mut signal,
                indices: &mut indices,
                has_fields: &mut has_fields,
            };
            members.next_value_seed(node)?;
            if has_fields {
                continue;
            }
            if !self.names.insert(signal.name.clone()) {
                return Err(self.fail(InputError::Duplicate { signal: signal.name }));
            }
            let (expected, limit) = (self.values_max, self.values_max.saturating_add(EMPTY_SIGNALS_MAX));
            if u32::try_from(self.signals.len()).map_or(true, |signals| signals >= limit) {
                return Err(self.fail(InputError::TooManySignals { expected, limit }));
            }
            self.signals.push(signal);
        }
        Ok(())
    }
}

/// An object whose members have signals.
struct Document<'a> {
    reader: &'a mut Reader,
    members: &'a [&'a str],
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            match self.members.iter().position(|member| *member == key) {
                Some(member) => {
                    self.reader.member = member;
                    members.next_value_seed(Root(&mut *self.reader))?;
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The signals: an object.
struct Root<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.0.members(None, members)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.0.fail(InputError::NotAnObject))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.0.fail(InputError::NotAnObject))
    }
}

/// A value below a member: one or many values of its signal, or buses.
struct Node<'a> {
    reader: &'a mut Reader,
    signal: &'a mut Signal,
    /// The position in the lists around it.
    indices: &'a mut Vec<usize>,
    /// Whether the member is a bus or a list of buses, and no signal itself.
    has_fields: &'a mut bool,
}

impl Node<'_> {
    fn add<E: de::Error>(self, value: Result<Zeroizing<Limbs>, ValueProblem>) -> Result<(), E> {
        match value {
            // A list has either values or buses.
            Ok(_) if *self.has_fields => Err(self.fail(ValueProblem::NotAnInteger)),
            Ok(value) => {
                self.signal.given += 1;
                // More values are an error once the lengths are compared, and are not read after that.
                if self.reader.values < self.reader.values_max {
                    self.reader.values += 1;
                    self.signal.values.push(value);
                }
                Ok(())
            }
            Err(problem) => Err(self.fail(problem)),
        }
    }

    fn fail<E: de::Error>(self, problem: ValueProblem) -> E {
        let (signal, position) = (std::mem::take(&mut self.signal.name), self.signal.given);
        self.reader.fail(match problem {
            ValueProblem::NotAnInteger => InputError::NotAnInteger { signal, position },
            ValueProblem::NotBelowModulus => InputError::NotBelowModulus { signal, position },
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("integers, arrays and objects")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.fail(ValueProblem::NotAnInteger))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.fail(ValueProblem::NotAnInteger))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.fail(ValueProblem::NotAnInteger))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.add(Ok(field::from_i64(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.add(Ok(field::from_u64(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.add(field::parse(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reader, signal, indices, has_fields } = self;
        indices.push(0);
        while list
            .next_element_seed(Node {
                reader: &mut *reader,
                signal: &mut *signal,
                indices: &mut *indices,
                has_fields: &mut *has_fields,
            })?
            .is_some()
        {
            if let Some(index) = indices.last_mut() {
                *index += 1;
            }
        }
        indices.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        if self.signal.given > 0 {
            return Err(self.fail(ValueProblem::NotAnInteger));
        }
        *self.has_fields = true;
        // At most twenty digits and two brackets each.
        self.reader.count_name(self.signal.name.len() + 22 * self.indices.len())?;
        let mut bus = self.signal.name.clone();
        for index in self.indices.iter() {
            let _ = write!(bus, "[{index}]");
        }
        self.reader.members(Some(&bus), members)
    }
}

#[cfg(test)]
mod tests;
