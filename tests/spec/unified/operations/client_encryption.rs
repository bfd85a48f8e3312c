//! The operations of client-side encryption, which this library will not have.

use super::{Operation, Run};

pub(super) const OPERATIONS: &[Operation] = &[
    never("addKeyAltName", &["id", "keyAltName"]),
    never("createDataKey", &["kmsProvider", "opts"]),
    never("createKey", &["kmsProvider", "opts"]),
    never("decrypt", &["value"]),
    never("deleteKey", &["id"]),
    never("encrypt", &["value", "opts"]),
    never("encryptExpression", &["expr", "opts"]),
    never("getKey", &["id"]),
    never("getKeyByAltName", &["keyAltName"]),
    never("getKeys", &[]),
    never("removeKeyAltName", &["id", "keyAltName"]),
    never("rewrapManyDataKey", &["filter", "opts"]),
];

const fn never(name: &'static str, arguments: &'static [&'static str]) -> Operation {
    Operation {
        name,
        arguments,
        run: Run::OutOfScope("client-side encryption"),
    }
}
