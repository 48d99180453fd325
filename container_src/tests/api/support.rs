//! Support for the tests: the crate `edgeprove_testkit`, fake bb programs, and a search for secrets.

pub(crate) mod circom_files;
pub(crate) mod fake_bb;
pub(crate) mod secret_search;

pub(crate) use edgeprove_testkit::*;
