use std::{collections::BTreeMap, io, io::Read};

use acir::{
    AcirField, FieldElement, SerializationFormat,
    native_types::{Witness, WitnessMap, WitnessStack},
};
use flate2::read::GzDecoder;

use super::*;

/// A small pseudo-random generator, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }

    fn field(&mut self) -> FieldElement {
        match self.below(4) {
            0 => FieldElement::zero(),
            1 => FieldElement::from(self.next()),
            2 => -FieldElement::one(),
            _ => -FieldElement::from(self.next()) * FieldElement::from(self.next()),
        }
    }

    fn map(&mut self, entries: usize) -> WitnessMap<FieldElement> {
        let mut map = BTreeMap::new();
        let mut index = 0;
        for _ in 0..entries {
            map.insert(Witness(index), self.field());
            index += u32::try_from(1 + self.below(20) / 19 * self.below(70_000)).unwrap();
        }
        map.into()
    }
}

fn decompressed(stack: &WitnessStack<FieldElement>, format: SerializationFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let gzip = stack.serialize_with_format(format).unwrap();
    GzDecoder::new(gzip.as_slice()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn compact(map: WitnessMap<FieldElement>) -> Vec<u8> {
    decompressed(&map.into(), SerializationFormat::MsgpackCompact)
}

fn checked(bytes: &[u8], max_index: u32) -> Result<WitnessSummary, StackError> {
    check(bytes, &WitnessShape { max_index: Some(max_index) })
}

fn fault(bytes: &[u8], max_index: u32) -> (Fault, u64) {
    match checked(bytes, max_index) {
        Err(StackError::Malformed { what, at }) => (what, at),
        other => panic!("not malformed: {other:?}"),
    }
}

/// `03 91 91 92 00 82`, then witnesses 0 and 1 with the values 5 and 6.
fn two() -> Vec<u8> {
    let value = |value: u8| [&[0xc4, 32][..], &[0; 31], &[value]].concat();
    [&[3, 0x91, 0x91, 0x92, 0, 0x82, 0][..], &value(5), &[1], &value(6)].concat()
}

#[test]
fn witnesses_that_noir_writes_are_accepted() {
    let mut numbers = Numbers(1);
    for entries in (1..200).chain([300, 66_000]) {
        let map = numbers.map(entries);
        let max_index = map.clone().into_iter().last().unwrap().0.witness_index();
        let bytes = compact(map);
        let shape = WitnessShape { max_index: Some(max_index) };
        assert_eq!(check(&bytes[..], &shape).unwrap(), WitnessSummary { items: 1, entries: entries as u64 });
        assert!(bytes.len() as u64 <= shape.decompressed_bytes_max());

        match checked(&bytes, max_index + 1) {
            Err(StackError::OtherCircuit { got, want }) => {
                assert_eq!((got, want), (Some(max_index), Some(max_index + 1)));
            }
            other => panic!("{other:?}"),
        }
        if max_index > 0 {
            match checked(&bytes, max_index - 1) {
                Err(StackError::OtherCircuit { got, want }) => {
                    assert_eq!((got, want), (Some(max_index), Some(max_index - 1)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn every_encoding_that_msgpack_allows_is_accepted() {
    let value = |head: &[u8]| [head, &[0; 32]].concat();
    let wide = [
        &[3, 0xdc, 0, 1, 0xdd, 0, 0, 0, 1, 0x92, 0xcc, 0, 0xde, 0, 2, 0xce, 0, 0, 0, 0][..],
        &value(&[0xc5, 0, 32]),
        &[0xd0, 1],
        &value(&[0xc6, 0, 0, 0, 32]),
    ]
    .concat();
    assert_eq!(checked(&wide, 1).unwrap().entries, 2);
}

#[test]
fn other_formats_are_named() {
    let stack = WitnessStack::from(Numbers(2).map(5));
    let bincode = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0; 32]].concat();
    for (bytes, expected, words) in [
        (decompressed(&stack, SerializationFormat::Msgpack), Found::Named, "named msgpack"),
        (decompressed(&stack, SerializationFormat::MsgpackTagged), Found::Tagged, "tagged msgpack"),
        (bincode, Found::Bincode, "older Noir"),
        (br#"{"value":"42"}"#.to_vec(), Found::Text, "the inputs"),
        (stack.serialize().unwrap(), Found::Gzip, "compressed twice"),
        (vec![0xff], Found::Other(0xff), "0xff"),
    ] {
        let error = checked(&bytes, 4).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        match error {
            StackError::Format { found } => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_violation_of_the_format_names_its_position() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = two();
        bytes[at] = byte;
        bytes
    };
    let kind = |what, want, got| Fault::Kind { what, want, got };
    let count = |what, want, got| Fault::Count { what, want, got };
    for (bytes, expected, at) in [
        (Vec::new(), Fault::EndsWithin { what: "the format byte" }, 0),
        (changed(1, 0x81), kind("the stack file", "an array", "a map"), 1),
        (changed(1, 0x92), count("the stack file", 1, 2), 1),
        (changed(2, 0x90), count("the stack", 1, 0), 2),
        (changed(2, 0x92), count("the stack", 1, 2), 2),
        (changed(3, 0x93), count("the stack's item", 2, 3), 3),
        (changed(4, 7), Fault::OtherFunction { function: 7 }, 4),
        (changed(4, 0xc0), kind("the item's function", "a number", "nil"), 4),
        (changed(5, 0x92), kind("the item's witness map", "a map", "an array"), 5),
        (changed(6, 0xff), Fault::IndexOutOfRange { what: "a witness index" }, 6),
        (changed(6, 0xa1), kind("a witness index", "a number", "text"), 6),
        (changed(6, 1), Fault::NotAscending { index: 1, last: 1 }, 41),
        (changed(41, 0), Fault::NotAscending { index: 0, last: 0 }, 41),
        (changed(7, 0xd9), Fault::TextValue { index: 0 }, 7),
        (changed(7, 0x9f), kind("a value", "bytes", "an array"), 7),
        (changed(8, 31), Fault::ValueLength { index: 0, bytes: 31 }, 7),
        (changed(9, 0x31), Fault::BeyondModulus { index: 0 }, 7),
        (changed(44, 0x31), Fault::BeyondModulus { index: 1 }, 42),
        (changed(5, 0x81), Fault::BytesAfterEnd, 41),
        (changed(5, 0x83), Fault::EndsWithin { what: "a witness index" }, 76),
        ([two(), vec![0]].concat(), Fault::BytesAfterEnd, 76),
        (two()[..75].to_vec(), Fault::EndsWithin { what: "a value" }, 75),
    ] {
        assert_eq!(fault(&bytes, 1), (expected, at));
    }
    assert_eq!(checked(&two(), 1).unwrap().entries, 2);
}

#[test]
fn values_are_below_the_modulus() {
    assert_eq!(MODULUS.to_vec(), FieldElement::modulus().to_bytes_be());
    let mut largest = two();
    largest[9..41].copy_from_slice(&(-FieldElement::one()).to_be_bytes());
    assert!(checked(&largest, 1).is_ok());
    largest[9..41].copy_from_slice(&MODULUS);
    assert_eq!(fault(&largest, 1), (Fault::BeyondModulus { index: 0 }, 7));
}

#[test]
fn an_index_beyond_the_circuit_is_refused_at_once() {
    let mut bytes = two()[..6].to_vec();
    bytes.extend([0xce, 0xff, 0xff, 0xff, 0xfe]);
    // Nothing follows: the index alone is refused.
    match checked(&bytes, 1) {
        Err(StackError::OtherCircuit { got, want }) => assert_eq!((got, want), (Some(u32::MAX - 1), Some(1))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_functions_or_no_values_are_refused() {
    let mut stack = WitnessStack::from(Numbers(3).map(3));
    stack.push(1, Numbers(3).map(3));
    let bytes = decompressed(&stack, SerializationFormat::MsgpackCompact);
    assert_eq!(fault(&bytes, 2).0, Fault::Count { what: "the stack", want: 1, got: 2 });

    let none = compact(WitnessMap::new());
    assert!(matches!(checked(&none, 0), Err(StackError::OtherCircuit { got: None, want: Some(0) })));
}

#[test]
fn lengths_of_four_billion_allocate_nothing() {
    let head = |bytes: &[u8]| [&[3, 0x91, 0x91, 0x92, 0][..], bytes].concat();
    let four_billion = [0xff; 4];
    let array = [&[3, 0xdd][..], &four_billion].concat();
    assert_eq!(fault(&array, 1).0, Fault::Count { what: "the stack file", want: 1, got: u32::MAX });
    let map = head(&[&[0xdf][..], &four_billion].concat());
    assert_eq!(fault(&map, 1).0, Fault::EndsWithin { what: "a witness index" });
    let value = head(&[&[0x81, 0, 0xc6][..], &four_billion].concat());
    assert_eq!(fault(&value, 1).0, Fault::ValueLength { index: 0, bytes: u32::MAX });
    let text = head(&[&[0x81, 0, 0xdb][..], &four_billion].concat());
    assert_eq!(fault(&text, 1).0, Fault::TextValue { index: 0 });
    let nested = [&[3][..], &vec![0x91; 100_000]].concat();
    assert_eq!(fault(&nested, 1).0, Fault::Count { what: "the stack's item", want: 2, got: 1 });
}

#[test]
fn an_unreadable_file_is_not_a_malformed_witness() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StaleNetworkFileHandle.into())
        }
    }
    let bytes = two();
    for healthy in 0..bytes.len() {
        let error = check(bytes[..healthy].chain(Broken), &WitnessShape { max_index: Some(1) }).unwrap_err();
        assert!(matches!(error, StackError::Read(_)), "{error:?}");
    }
}

#[test]
fn no_error_contains_a_value() {
    let mut bytes = two();
    // All bytes but the first, which would make the values larger than the modulus.
    for value in [10..41, 45..76] {
        bytes[value].fill(0xa7);
    }
    for at in 0..bytes.len() {
        for byte in (0..=255).filter(|&byte| byte != 0xa7) {
            let original = std::mem::replace(&mut bytes[at], byte);
            if let Err(error) = checked(&bytes, 1) {
                let text = format!("{error} {error:?}");
                assert!(!text.contains("167") && !text.contains("a7"), "byte {at} as {byte}: {text}");
            }
            bytes[at] = original;
        }
    }
}

#[test]
fn noir_accepts_every_witness_that_is_accepted_here() {
    let mut numbers = Numbers(4);
    let mut accepted = 0;
    for round in 0..20_000 {
        let entries = 1 + numbers.below(12);
        let map = numbers.map(entries);
        let max_index = map.clone().into_iter().last().unwrap().0.witness_index();
        let mut bytes = compact(map);
        for _ in 0..numbers.below(4) {
            let at = numbers.below(bytes.len());
            match numbers.below(4) {
                0 => bytes.truncate(at + 1),
                1 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
                2 => bytes[at] ^= 1 << numbers.below(8),
                _ => bytes.insert(at, u8::try_from(numbers.below(256)).unwrap()),
            }
        }
        if let Ok(summary) = checked(&bytes, max_index) {
            accepted += 1;
            let mut gzip = flate2::read::GzEncoder::new(&bytes[..], flate2::Compression::fast());
            let mut packed = Vec::new();
            gzip.read_to_end(&mut packed).unwrap();
            let stack = WitnessStack::<FieldElement>::deserialize(&packed).unwrap();
            let map = &stack.peek().unwrap().witness;
            assert_eq!(map.clone().into_iter().count() as u64, summary.entries, "round {round}");
            // Noir writes the shortest heads; a mutation may have replaced one with a longer head of the same meaning.
            assert!(compact(map.clone()).len() <= bytes.len(), "round {round}");
        }
    }
    assert!((5_000..19_000).contains(&accepted), "{accepted} accepted: the test proves little");
}

#[test]
fn a_circuit_without_witnesses_has_the_empty_map() {
    let shape = WitnessShape { max_index: None };
    let empty = compact(WitnessMap::new());
    assert_eq!(check(empty.as_slice(), &shape).unwrap(), WitnessSummary { items: 1, entries: 0 });
    assert!(empty.len() as u64 <= shape.decompressed_bytes_max());
    let one = compact(BTreeMap::from([(Witness(0), FieldElement::one())]).into());
    let error = check(one.as_slice(), &shape).unwrap_err();
    assert!(matches!(error, StackError::OtherCircuit { got: Some(0), want: None }), "{error}");
    assert!(error.to_string().ends_with("this circuit has no witnesses"), "{error}");
}
