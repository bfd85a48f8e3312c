//! Both directions, compared with `bson`.

mod decoding;
mod encoding;
