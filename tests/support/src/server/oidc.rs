//! The server's side of MONGODB-OIDC: it accepts tokens until a test revokes them.

use super::external::{ExternalConversation, ExternalMechanism, Said};
use crate::net::lock;
use bson::{Document, doc};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// MONGODB-OIDC, with the tokens that are accepted. Clones share their state.
///
/// ```
/// use mongotls_testbench::server::{Auth, OidcMechanism, Server};
///
/// let oidc = OidcMechanism::new();
/// oidc.accept("t0ken");
/// let server = Server::builder().auth(Auth::new().external(oidc.clone())).start();
/// oidc.revoke("t0ken");
/// assert!(oidc.principals().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct OidcMechanism(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The tokens, each with its expiration, or `None` if it does not expire.
    tokens: HashMap<String, Option<Instant>>,
    principals: Vec<Option<String>>,
    idp: Option<Document>,
}

impl OidcMechanism {
    /// No token yet; an identity provider at `https://idp.example`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts this token from now on.
    pub fn accept(&self, token: &str) {
        lock(&self.0).tokens.insert(token.into(), None);
    }

    /// Accepts this token for this time.
    pub fn accept_for(&self, token: &str, time: Duration) {
        let end = Some(Instant::now() + time);
        lock(&self.0).tokens.insert(token.into(), end);
    }

    /// Revokes this token.
    pub fn revoke(&self, token: &str) {
        lock(&self.0).tokens.remove(token);
    }

    /// Sets the description of the identity provider.
    pub fn set_idp(&self, answer: Document) {
        lock(&self.0).idp = Some(answer);
    }

    /// The users (`n`) in the requests of clients, oldest first.
    pub fn principals(&self) -> Vec<Option<String>> {
        lock(&self.0).principals.clone()
    }
}

impl ExternalMechanism for OidcMechanism {
    fn name(&self) -> &'static str {
        "MONGODB-OIDC"
    }

    fn start(&self) -> Box<dyn ExternalConversation> {
        Box::new(self.clone())
    }
}

impl ExternalConversation for OidcMechanism {
    fn answer(&mut self, message: &[u8]) -> Option<Said> {
        let message = Document::from_reader(message).ok()?;
        let mut state = lock(&self.0);
        if let Ok(token) = message.get_str("jwt") {
            let end = state.tokens.get(token)?;
            let holds = end.is_none_or(|end| Instant::now() < end);
            return holds.then(|| Said::Done(format!("idp/{token}")));
        }
        let principal = message.get_str("n").ok().map(ToOwned::to_owned);
        state.principals.push(principal);
        let idp = state.idp.clone().unwrap_or_else(|| {
            doc! { "issuer": "https://idp.example", "clientId": "bench", "requestScopes": ["a", "b"] }
        });
        Some(Said::More(idp.to_vec().ok()?))
    }
}
