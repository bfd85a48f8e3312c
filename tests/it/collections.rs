//! Typed collections, on SecantusDB behind the bench, or on the bench alone where a server must misbehave.

mod administration;
mod bulk;
mod reads;
mod settings;
