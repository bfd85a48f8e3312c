//! Connects to the server of the connection string in its only argument, sends hello and pings.

use std::error::Error;

use mongotls::Client;
use mongotls::bson::doc;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1).ok_or("a connection string")?;
    let admin = Client::connect(&uri)?.database("admin");
    println!("{}", admin.run_command(doc! { "hello": 1 })?);
    println!("{}", admin.run_command(doc! { "ping": 1 })?);
    Ok(())
}
