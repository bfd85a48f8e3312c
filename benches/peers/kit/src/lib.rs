//! The common parts of the compared programs.
//!
//! A worker is a program with one peer in it. It is started with a port and the path of a CA file, reads commands line
//! by line on standard input, and prints their cost on standard output; see [`worker`].

pub mod clock;
pub mod documents;
pub mod figures;
pub mod memory;
pub mod worker;
