//! What a sequential ping costs today; `make guard` fails where it costs more.
//!
//! To renew the numbers, after the library has become cheaper, or dearer for a good reason, copy what `make guard` prints
//! at its end; the commit says what the reason is. Those here were taken with OpenSSL 3.0.19 on x86-64, which matters
//! little: see `cost.rs`.

use crate::cost::Cost;

/// A ping of `mongotls`.
pub(crate) const PING: Cost = Cost {
    system_calls: 2.0,
    allocations: 2.0,
    instructions: 17_040.0,
};

/// The instructions of a ping of the bare program, taken beside it.
pub(crate) const FLOOR_INSTRUCTIONS: f64 = 13_020.0;
