//! Words for operations that the program cancelled.

use crate::cause::{CauseCode, Explanation};
use crate::reason::cancel::Cancelled;

pub(super) fn explain(cancelled: Cancelled) -> Explanation {
    let (step, when) = match cancelled {
        Cancelled::BeforeStart => ("start", "before it started"),
        Cancelled::ServerSelection => ("server-selection", "while it waited for a server"),
        Cancelled::CheckOut => ("check-out", "while it waited for a connection"),
        Cancelled::Establishing => ("establishing", "while it established a connection"),
        Cancelled::BeforeSending => ("sending", "before its command was sent"),
        Cancelled::Reply => ("reply", "while it waited for the reply"),
        Cancelled::Pause => ("retry", "while it paused before a retry"),
    };
    let remedy = match cancelled {
        Cancelled::Reply => {
            "The program asked for this (Canceller::cancel). Look at Error::written before a write is repeated: the \
             server may have run the command."
        }
        _ => {
            "The program asked for this (Canceller::cancel). Start the operation again with a new Canceller if it is still \
             needed."
        }
    };
    Explanation::new(
        CauseCode::Cancelled,
        format!("the program cancelled the operation {when}"),
        remedy,
    )
    .fact("step", step)
}
