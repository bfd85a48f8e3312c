//! `mongotls watch`: prints the events of a change stream, one per line, with the tokens at which another one continues.

use std::io;

use mongotls::bson::Document;
use mongotls::change_stream::ResumeToken;
use mongotls::{ChangeStream, Client, Error, Watch};
use serde_json::{Value, json};

use crate::input::FetchedUri;
use crate::output::Screen;
use crate::{Verdict, extended_json, json as form, print_error, wait_notice};

/// A stream to open, and the form in which its end is printed.
pub(crate) struct Watching {
    /// The database, or `None` for all of them.
    pub(crate) database: Option<String>,
    pub(crate) collection: Option<String>,
    pub(crate) resume: Option<ResumeToken>,
    pub(crate) json: bool,
}

pub(crate) fn watch(
    screen: &mut Screen,
    target: FetchedUri,
    watching: Watching,
) -> io::Result<Verdict> {
    let json = watching.json;
    let opened = target.client().and_then(|client| {
        let open = || open(&client, watching);
        wait_notice::with_notice(|| wait_notice::for_a_server(&client), open)
    });
    let failure = match opened {
        Ok(stream) => print(screen, stream)?,
        Err(error) => Some(error),
    };
    if json {
        screen.json(&Value::Object(form::outcome(failure.as_ref())))?;
    } else if let Some(error) = &failure {
        print_error(error);
    }
    Ok(match failure {
        None => Verdict::Well,
        Some(_) => Verdict::Failed,
    })
}

fn open(client: &Client, watching: Watching) -> Result<ChangeStream<Document>, Error> {
    let action: Watch<Document> = match (&watching.database, &watching.collection) {
        (None, _) => client.watch().with_type(),
        (Some(database), None) => client.database(database).watch().with_type(),
        (Some(database), Some(name)) => {
            let collection = client.database(database).collection::<Document>(name);
            collection.watch().with_type()
        }
    };
    action.start_after(watching.resume).run()
}

/// Prints events until the stream ends. Returns the error that ended it, if there was one.
fn print(screen: &mut Screen, mut stream: ChangeStream<Document>) -> io::Result<Option<Error>> {
    while let Some(event) = stream.next() {
        match event {
            Ok(event) => {
                let token = stream.resume_token().map(|token| token.to_string());
                let event = extended_json::relaxed(event);
                screen.json(&json!({ "token": token, "event": event }))?;
            }
            Err(error) => return Ok(Some(error)),
        }
        // The reader has closed the output, and the stream may never end.
        if screen.is_closed() {
            break;
        }
    }
    Ok(None)
}
