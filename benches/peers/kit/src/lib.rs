//! What the programs that are compared share.
//!
//! A worker is a program with one peer in it. It is started with a port and the path of a CA file, is told line by
//! line on standard input what to do, and says on standard output what it took; see [`worker`].

pub mod clock;
pub mod documents;
pub mod figures;
pub mod memory;
pub mod worker;
