//! What the tests stand on; see `edgeprove_testkit`, where all is that other tests use as well.

pub(crate) mod fake_bb;

pub(crate) use edgeprove_testkit::*;
