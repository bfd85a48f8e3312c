//! The current costs of sequential operations; `make guard` fails if one of them costs more.
//!
//! To renew the numbers, after the library has become cheaper, or more expensive for a good reason, copy the last lines
//! of `make guard`; the commit gives the reason. The current ones were measured with OpenSSL 3.0.19 on x86-64, which
//! has little effect: see `cost.rs`.

use crate::cost::Cost;
use crate::operations::Operation;

/// An operation of `mongotls`, and the instructions of the bare program for its prepared message.
pub(crate) struct Kept {
    pub(crate) operation: Operation,
    pub(crate) cost: Cost,
    pub(crate) floor_instructions: f64,
    /// The prepared command of an operation of a collection, and the number of allocations by which the operation may
    /// exceed it.
    pub(crate) above_raw: Option<(Operation, f64)>,
}

pub(crate) const ALL: [Kept; 3] = [
    Kept {
        operation: Operation::Ping,
        cost: Cost {
            system_calls: 2.0,
            allocations: 2.0,
            instructions: 22_120.0,
        },
        floor_instructions: 13_430.0,
        above_raw: None,
    },
    Kept {
        operation: Operation::InsertOne,
        cost: Cost {
            system_calls: 2.0,
            allocations: 2.0,
            instructions: 27_570.0,
        },
        floor_instructions: 13_690.0,
        above_raw: Some((Operation::RawInsert, 3.0)),
    },
    Kept {
        operation: Operation::FindOne,
        cost: Cost {
            system_calls: 2.0,
            allocations: 3.0,
            instructions: 27_600.0,
        },
        floor_instructions: 13_970.0,
        // The document has one of its own, for its text.
        above_raw: Some((Operation::RawFind, 2.0 + 1.0)),
    },
];

/// The system calls of a transaction with two commands: a write and a read for each, and for the commit.
pub(crate) const SYSTEM_CALLS_OF_TRANSACTION: f64 = 6.0;

/// The number of allocations by which a transaction may exceed its commands: those of the commit and its reply, of the
/// settings, and of the router that it is pinned to.
pub(crate) const ALLOCATIONS_OF_TRANSACTION: f64 = 8.0;
