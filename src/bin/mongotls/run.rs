//! `mongotls run`: one command, and its reply as relaxed Extended JSON.

use std::io;

use mongotls::bson::Document;

use crate::args::Redirect;
use crate::extended_json;
use crate::output::Screen;
use crate::ping::complain;
use crate::{Verdict, connect};

pub(crate) fn run(
    screen: &mut Screen,
    uri: &str,
    connect_to: &[Redirect],
    database: &str,
    command: Document,
    all: bool,
) -> io::Result<Verdict> {
    let client = match connect::client(uri, connect_to) {
        Ok(client) => client,
        Err(error) => return complain(&error).map(|()| Verdict::Failed),
    };
    let database = client.database(database);
    if !all {
        return match database.run_command(command) {
            Ok(reply) => screen
                .indented_json(&extended_json::relaxed(reply))
                .map(|()| Verdict::Well),
            Err(error) => complain(&error).map(|()| Verdict::Failed),
        };
    }
    let cursor = match database.run_cursor_command::<Document>(command) {
        Ok(cursor) => cursor,
        Err(error) => return complain(&error).map(|()| Verdict::Failed),
    };
    for document in cursor {
        match document {
            Ok(document) => screen.json(&extended_json::relaxed(document))?,
            Err(error) => return complain(&error).map(|()| Verdict::Failed),
        }
    }
    Ok(Verdict::Well)
}
