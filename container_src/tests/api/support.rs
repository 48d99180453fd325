//! Support for the tests: the crate `edgeprove_testkit`, and fake bb programs.

pub(crate) mod circom_files;
pub(crate) mod fake_bb;

pub(crate) use edgeprove_testkit::*;
