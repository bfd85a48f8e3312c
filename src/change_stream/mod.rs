//! Change streams: the changes of a collection, a database or a deployment, as they happen.
//!
//! `watch()` of a collection, a database or a client returns a [`Watch`], which opens a [`ChangeStream`]. It is a cursor of
//! the server that another one replaces after a failure, at the place where it ended.
//!
//! | file | holds |
//! |---|---|
//! | `watch.rs` | the action that opens a stream |
//! | `stream.rs` | the stream: iteration, and the replacement of its cursor |
//! | `source.rs` | the aggregation that opens a cursor of a stream |
//! | `position.rs` | where another cursor continues, and after which errors; no I/O |
//! | `event.rs` `token.rs` | events and tokens, as programs see them |
//! | `split.rs` | events that the server has split |
//!
//! Everything here is made of a cursor and of operations of collections; nothing selects servers. Runs on the thread of the
//! program, and holds no lock while it waits.
//!
//! Source: "Change Streams"; "Client Side Operations Timeout", "Change Streams".

#[cfg(feature = "serde")]
mod event;
mod position;
mod source;
mod split;
mod stream;
mod token;
mod watch;

#[cfg(feature = "serde")]
pub use self::event::{
    ChangeNamespace, ChangeNamespaceType, ChangeStreamEvent, OperationType, SplitEvent,
    TruncatedArray, UpdateDescription,
};
pub use self::stream::ChangeStream;
pub use self::token::ResumeToken;
pub use self::watch::Watch;
