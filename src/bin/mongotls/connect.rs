//! From a connection string and the options of the command line to a client.

use log::warn;
use mongotls::options::ClientOptionsBuilder;
use mongotls::{Client, ConnectionString, Result};

use crate::args::Redirect;

/// Makes a client, as `Client::connect` does, that connects to other addresses where the command line says so.
pub(crate) fn client(uri: &str, connect_to: &[Redirect]) -> Result<Client> {
    let uri = ConnectionString::parse(uri)?;
    for warning in uri.warnings() {
        warn!(target: "mongotls::uri", "{warning}");
    }
    Client::with_options(redirected(uri.into_builder(), connect_to).build()?)
}

pub(crate) fn redirected(
    builder: ClientOptionsBuilder,
    connect_to: &[Redirect],
) -> ClientOptionsBuilder {
    let pairs = connect_to.iter().cloned();
    pairs.fold(builder, |builder, (server, target)| {
        builder.connect_to(server, target)
    })
}
