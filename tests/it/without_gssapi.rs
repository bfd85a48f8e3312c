//! A build without the feature `gssapi`.

use mongotls::{CauseCode, Client, ErrorKind};

use crate::common::code;

#[test]
fn gssapi_is_refused_with_the_name_of_its_feature() {
    let error =
        Client::connect("mongodb://ada%40EXAMPLE@localhost/?authMechanism=GSSAPI").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(code(&error), CauseCode::MechanismUnsupported);
    assert!(
        error.to_string().contains("built without GSSAPI"),
        "{error}"
    );
    assert!(error.cause().unwrap().remedy().contains("feature gssapi"));
}
