//! Connects to the server of the connection string in its only argument, sends hello and pings.

use std::error::Error;

use mongodb::bson::doc;
use mongodb::sync::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1).ok_or("a connection string")?;
    let admin = Client::with_uri_str(&uri)?.database("admin");
    println!("{}", admin.run_command(doc! { "hello": 1 }).run()?);
    println!("{}", admin.run_command(doc! { "ping": 1 }).run()?);
    Ok(())
}
