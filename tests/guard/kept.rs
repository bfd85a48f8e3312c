//! The current cost of a sequential ping; `make guard` fails if it costs more.
//!
//! To renew the numbers, after the library has become cheaper, or more expensive for a good reason, copy the last lines
//! of `make guard`; the commit gives the reason. The current ones were measured with OpenSSL 3.0.19 on x86-64, which
//! has little effect: see `cost.rs`.

use crate::cost::Cost;

/// A ping of `mongotls`.
pub(crate) const PING: Cost = Cost {
    system_calls: 2.0,
    allocations: 2.0,
    instructions: 22_480.0,
};

/// The instructions of a ping of the bare program, measured beside it.
pub(crate) const FLOOR_INSTRUCTIONS: f64 = 13_430.0;
