//! Typed collections, on SecantusDB behind the bench, or on the bench alone where a server must misbehave.

mod bulk;
