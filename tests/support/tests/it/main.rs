//! Tests of the bench itself: a bench that is wrong makes every test on it worthless.

mod pki;
mod server;
