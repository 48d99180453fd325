//! The compiled contracts of a circuit, and how they are linked: the file `verifier.json` of a circuit.
//!
//! The verifier is the last contract. Those before it are libraries, whose addresses are written into its code.

use serde::Deserialize;

use crate::account::Address;

/// The most contracts of a circuit.
const CONTRACTS_MAX: usize = 8;
/// The largest code that may create a contract, in bytes (EIP-3860).
const CODE_MAX_BYTES: usize = 49_152;
/// The longest name of a contract.
const NAME_MAX_BYTES: usize = 64;
/// The most addresses in a contract.
const LINKS_MAX: usize = 1_024;
/// The hexadecimal digits of an address.
const ADDRESS_DIGITS: usize = 40;

/// The contracts of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contracts {
    flavor: String,
    is_audited: bool,
    in_order: Vec<Contract>,
}

/// One contract.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contract {
    name: String,
    /// Hexadecimal digits, with other characters where addresses of libraries belong.
    code: String,
    /// The first digit of each address, and the index of the library.
    links: Vec<(usize, usize)>,
}

/// The file is not one that was written for a circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the compiled contracts of the circuit are damaged: {0}")]
pub struct InvalidContracts(&'static str);

#[derive(Deserialize)]
struct RawContracts {
    #[serde(default)]
    flavor: String,
    #[serde(default)]
    audited: bool,
    contracts: Vec<RawContract>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContract {
    name: String,
    creation_code: String,
    #[serde(default)]
    links: Vec<RawLink>,
}

#[derive(Deserialize)]
struct RawLink {
    library: String,
    start: usize,
}

impl Contracts {
    /// Reads the file.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidContracts> {
        let raw: RawContracts =
            serde_json::from_slice(json).map_err(|_| InvalidContracts("they are no JSON of this form"))?;
        if !(1..=CONTRACTS_MAX).contains(&raw.contracts.len()) {
            return Err(InvalidContracts("there are none, or too many"));
        }
        let mut contracts: Vec<Contract> = Vec::new();
        for contract in raw.contracts {
            let contract = Contract::new(contract, &contracts)?;
            contracts.push(contract);
        }
        let contracts = Self { flavor: raw.flavor, is_audited: raw.audited, in_order: contracts };
        // All digits must be there once the addresses are.
        let addresses = vec![Address([0; 20]); contracts.in_order.len()];
        for index in 0..contracts.in_order.len() {
            contracts.code(index, &addresses)?;
        }
        Ok(contracts)
    }

    /// The names, in the order of deployment.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.in_order.iter().map(|contract| contract.name.as_str())
    }

    /// The kind of verifier.
    #[must_use]
    pub fn flavor(&self) -> &str {
        &self.flavor
    }

    /// Whether the kind of verifier is within the scope of a published audit.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.is_audited
    }

    /// The code that creates a contract. `addresses` are those of the contracts before it, at least.
    pub fn code(&self, index: usize, addresses: &[Address]) -> Result<Vec<u8>, InvalidContracts> {
        let contract = self.in_order.get(index).ok_or(InvalidContracts("there are too few"))?;
        let mut code = contract.code.clone();
        for (start, library) in &contract.links {
            let address = addresses.get(*library).ok_or(InvalidContracts("a library has no address"))?;
            code.replace_range(*start..start + ADDRESS_DIGITS, &hex::encode(address.0));
        }
        hex::decode(&code).map_err(|_| InvalidContracts("their code has other characters than digits"))
    }
}

impl Contract {
    fn new(raw: RawContract, before: &[Self]) -> Result<Self, InvalidContracts> {
        let RawContract { name, creation_code: code, links } = raw;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        if !(1..=NAME_MAX_BYTES).contains(&name.len()) || !name.bytes().all(is_allowed) {
            return Err(InvalidContracts("one has an invalid name"));
        }
        if before.iter().any(|other| other.name == name) {
            return Err(InvalidContracts("two have one name"));
        }
        if !code.is_ascii() || !(2..=2 * CODE_MAX_BYTES).contains(&code.len()) || links.len() > LINKS_MAX {
            return Err(InvalidContracts("one has no code, or too much"));
        }
        let link = |RawLink { library, start }: RawLink| {
            let library = before.iter().position(|other| other.name == library);
            let library = library.ok_or(InvalidContracts("a library is not deployed before it is needed"))?;
            let start =
                start.checked_mul(2).filter(|start| start.saturating_add(ADDRESS_DIGITS) <= code.len());
            Ok((start.ok_or(InvalidContracts("an address is outside of the code"))?, library))
        };
        let links = links.into_iter().map(link).collect::<Result<_, _>>()?;
        Ok(Self { name, code, links })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(contracts: &Value) -> Result<Contracts, InvalidContracts> {
        let file = json!({ "compiler": "solc 0.8.37", "flavor": "honk-zk", "audited": true, "contracts": contracts });
        Contracts::parse(file.to_string().as_bytes())
    }

    fn placeholder() -> String {
        format!("60__${}$__61", "0".repeat(34))
    }

    #[test]
    fn addresses_of_libraries_are_written_into_the_code() {
        let link = |start: usize| json!([{ "library": "Lib", "start": start }]);
        let contracts = parse(&json!([
            { "name": "Lib", "creationCode": "6000", "links": [] },
            { "name": "Verifier", "creationCode": placeholder(), "links": link(1) },
        ]))
        .unwrap();
        assert_eq!(contracts.names().collect::<Vec<_>>(), ["Lib", "Verifier"]);
        assert!(contracts.is_audited() && contracts.flavor() == "honk-zk");
        let code = contracts.code(1, &[Address([7; 20])]).unwrap();
        assert_eq!(hex::encode(code), format!("60{}61", "07".repeat(20)));
    }

    #[test]
    fn damaged_contracts_are_refused() {
        let lib = || json!({ "name": "Lib", "creationCode": "6000" });
        let linked = |code: &str, library: &str, start: usize| json!([lib(), { "name": "V", "creationCode": code, "links": [{ "library": library, "start": start }] }]);
        assert!(parse(&linked(&placeholder(), "Lib", 1)).is_ok());
        for contracts in [
            json!([]),
            json!([lib(), lib()]),
            json!(vec![lib(); 9]),
            json!([{ "name": "../x", "creationCode": "60" }]),
            json!([{ "name": "x", "creationCode": "" }]),
            json!([{ "name": "x", "creationCode": "6" }]),
            json!([{ "name": "x", "creationCode": "0x60" }]),
            json!([{ "name": "x", "creationCode": "äö" }]),
            json!([{ "name": "x", "creationCode": "00".repeat(CODE_MAX_BYTES + 1) }]),
            json!([{ "name": "x" }]),
            linked(&placeholder(), "Lib", 2),
            linked(&placeholder(), "Lib", 3),
            linked(&placeholder(), "Lib", usize::MAX),
            linked(&placeholder(), "V", 1),
            linked(&placeholder(), "Other", 1),
        ] {
            assert!(parse(&contracts).is_err(), "{contracts}");
        }
        for text in ["", "{}", "[]", "{\"contracts\": 7}"] {
            assert!(Contracts::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
