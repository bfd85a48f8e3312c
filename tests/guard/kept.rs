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
