//! The test bench of mongotls.
