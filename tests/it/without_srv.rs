//! Without the feature `srv`.

use mongotls::{CauseCode, Client};

use crate::common::code;

#[test]
fn mongodb_srv_is_refused_with_the_name_of_the_feature() {
    let error = Client::connect("mongodb+srv://db.example.org").unwrap_err();
    assert_eq!(code(&error), CauseCode::OptionConflict);
    let remedy = error.cause().unwrap().remedy();
    assert!(remedy.contains("feature \"srv\""), "{remedy}");
    assert!(error.to_string().contains("mongodb+srv"), "{error}");
}
