//! Without the feature `srv`.

use mongotls::{CauseCode, Client};

use crate::common::code;

#[test]
fn mongodb_srv_is_refused_with_the_name_of_the_feature() {
    let error = Client::connect("mongodb+srv://db.example.org").unwrap_err();
    assert_eq!(code(&error), CauseCode::MechanismUnsupported);
    let remedy = error.cause().unwrap().remedy();
    assert!(remedy.contains("feature \"srv\""), "{remedy}");
    let message = error.cause().unwrap().message();
    assert_eq!(message, "this program is built without mongodb+srv");
}
