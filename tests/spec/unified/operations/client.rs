//! The operations of a client.

use std::sync::Arc;

use mongotls::options::DriverInfo;

use super::admin::{self, DROP_DATABASE, LIST_DATABASES};
use super::arguments::scoped;
use super::bulk::{CLIENT_BULK_WRITE, client_bulk_write};
use super::change_stream::{self, CREATE};
use super::{Call, Operation, Outcome, now};
use crate::unified::entities::{ClientEntity, Entity};
use crate::unified::failure::Failure;
use crate::unified::json::only_arguments;

pub(super) const OPERATIONS: &[Operation] = &[
    now("close", &[], close),
    now("appendMetadata", &["driverInfoOptions"], append_metadata),
    now("clientBulkWrite", CLIENT_BULK_WRITE, client_bulk_write),
    now("createChangeStream", CREATE, change_stream::of_client),
    now(
        "dropDatabase",
        DROP_DATABASE,
        scoped!(admin::client, admin::drop_database),
    ),
    now(
        "listDatabaseNames",
        LIST_DATABASES,
        scoped!(admin::client, admin::list_database_names),
    ),
    now(
        "listDatabaseObjects",
        LIST_DATABASES,
        scoped!(admin::client, admin::list_database_names),
    ),
    now(
        "listDatabases",
        LIST_DATABASES,
        scoped!(admin::client, admin::list_databases),
    ),
];

pub(super) fn client<'a>(call: &Call<'a>) -> Result<&'a Arc<ClientEntity>, Failure> {
    match call.object {
        Some(Entity::Client(client)) => Ok(client),
        _ => Err(Failure::Entity("the object is not a client".to_owned())),
    }
}

fn close(call: &Call<'_>) -> Result<Outcome, Failure> {
    client(call)?.close();
    Ok(Outcome::Nothing)
}

fn append_metadata(call: &Call<'_>) -> Result<Outcome, Failure> {
    let info = &call.arguments["driverInfoOptions"];
    only_arguments(info, &["name", "version", "platform"]).map_err(Failure::Malformed)?;
    let name = info["name"].as_str();
    let mut driver = DriverInfo::new(name.ok_or_else(|| Failure::malformed("name is missing"))?);
    if let Some(version) = info["version"].as_str() {
        driver = driver.version(version);
    }
    if let Some(platform) = info["platform"].as_str() {
        driver = driver.platform(platform);
    }
    client(call)?.client.append_metadata(&driver)?;
    Ok(Outcome::Nothing)
}
