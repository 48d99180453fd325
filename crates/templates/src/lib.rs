//! Circuit templates: a caller names a template and its parameters, and gets the files of a circuit and its identity.
//!
//! In scope: what a template is, which parameters it accepts, the files that a compiler reads, the hash that identifies
//! the circuit, and inputs that a circuit accepts or refuses. Out of scope: compilers, provers, I/O and runtimes.
//! docs/TEMPLATES.md describes how to write a template.
//!
//! Start with [`Catalogue`]: it finds a [`Template`]. [`Instance::new`] checks the parameters of a caller; the instance
//! has the files, the hash and the samples:
//!
//! ```
//! use edgeprove_templates::{Catalogue, Instance, RawParameters, Toolchain};
//!
//! let catalogue = Catalogue::embedded()?;
//! let template = catalogue.find("rangeCheck", None)?;
//! let parameters: RawParameters = serde_json::from_str(r#"{"min": 100, "max": "500"}"#)?;
//! let instance = Instance::new(template, &parameters)?;
//! assert!(instance.files()["src/parameters.nr"].contains("MIN: u64 = 100;"));
//!
//! let toolchain = Toolchain::from_iter([("noir", "1.0.0-beta.26"), ("bb", "5.0.0")]);
//! assert!(instance.circuit_id(&toolchain).as_str().starts_with("rangeCheck-"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Imports run down this list only.
//!
//! - [`document`]: a template on the wire.
//! - [`catalogue`]: the templates of this binary, by name.
//! - [`instance`]: a template with values for its parameters.
//! - [`identity`]: the hash of a circuit, and its id.
//! - [`render`]: prints parameters as source text.
//! - [`template`]: one template as its folder describes it.
//! - [`sample`]: inputs as expressions of the parameters.
//! - [`parameters`]: checks the values of a caller.
//! - [`schema`]: the types of parameters.
//! - [`raw_parameters`]: the values of a caller before any check.
//! - [`names`]: languages, and names that need no escaping.
//! - [`canonical_json`]: one text for equal values.

pub mod canonical_json;
pub mod catalogue;
pub mod document;
pub mod identity;
pub mod instance;
pub mod names;
pub mod parameters;
pub mod raw_parameters;
mod render;
pub mod sample;
pub mod schema;
pub mod template;

pub use catalogue::{Catalogue, UnknownTemplate};
pub use document::{TemplateDocument, TemplateList};
pub use identity::{CircuitHash, Toolchain};
pub use instance::Instance;
pub use names::Language;
pub use parameters::InvalidParameters;
pub use raw_parameters::RawParameters;
pub use template::{InvalidTemplate, Template};
