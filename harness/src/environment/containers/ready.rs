//! Whether a server answers a real request.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;

use super::Server;

/// How long one request may take before the next one is tried.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
/// MongoDB's code for a replica set that is initiated already.
const ALREADY_INITIALIZED: i32 = 23;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotReady {
    /// It is starting.
    Yet(String),
    /// It answers, and what it says will not change.
    Ever(String),
}

/// Asks once.
pub(super) async fn ask(server: Server, port: u16) -> Result<(), NotReady> {
    let asking = async {
        match server {
            Server::Mongodb => ask_mongodb(port).await,
            Server::Redis => ask_redis(port).await.map_err(|error| NotReady::Yet(error.to_string())),
            Server::Kafka => ask_kafka(port).await,
        }
    };
    // Kafka's client has its own limit of the same length; a little more lets it say what it knows.
    let silent = || Err(NotReady::Yet("it does not answer".to_owned()));
    tokio::time::timeout(ATTEMPT_LIMIT + Duration::from_millis(500), asking).await.unwrap_or_else(|_| silent())
}

async fn ask_redis(port: u16) -> redis::RedisResult<()> {
    let client = redis::Client::open(Server::Redis.address(port))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

/// Ready means: a primary that takes writes. Transactions need a replica set, so a MongoDB that was started as a
/// member of one becomes its only member here. A server that speaks MongoDB's protocol without replica sets (stand-ins
/// for offline machines) is taken as it is.
async fn ask_mongodb(port: u16) -> Result<(), NotReady> {
    let yet = |error: mongodb::error::Error| NotReady::Yet(error.kind.to_string());
    let mut options = ClientOptions::parse(Server::Mongodb.address(port)).await.map_err(yet)?;
    options.server_selection_timeout = Some(ATTEMPT_LIMIT);
    options.connect_timeout = Some(ATTEMPT_LIMIT);
    let client = mongodb::Client::with_options(options).map_err(yet)?;
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(yet)?;
    match next_step(&hello) {
        NextStep::Initiate => {
            // The member's own view of itself: inside the container it listens on the port of the image. Clients come
            // with `directConnection`, so they do not use this address.
            let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": "127.0.0.1:27017" }] };
            match admin.run_command(doc! { "replSetInitiate": config }).await {
                Ok(_) => Err(NotReady::Yet("the replica set is being initiated".to_owned())),
                Err(error) if code_of(&error) == Some(ALREADY_INITIALIZED) => {
                    Err(NotReady::Yet("the replica set is initiated".to_owned()))
                }
                Err(error) if code_of(&error).is_some() => {
                    Err(NotReady::Ever(format!("replSetInitiate failed: {}", error.kind)))
                }
                Err(error) => Err(yet(error)),
            }
        }
        NextStep::Wait => Err(NotReady::Yet("it is not the primary yet".to_owned())),
        NextStep::Ping => admin.run_command(doc! { "ping": 1 }).await.map(|_| ()).map_err(yet),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    Initiate,
    Wait,
    Ping,
}

/// What an answer to `hello` asks for. `isreplicaset` is what a member says that does not know its set yet.
fn next_step(hello: &Document) -> NextStep {
    let says = |name: &str| hello.get_bool(name).unwrap_or(false);
    if says("isWritablePrimary") {
        NextStep::Ping
    } else if says("isreplicaset") {
        NextStep::Initiate
    } else {
        NextStep::Wait
    }
}

fn code_of(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

/// The client reports every refused connection of a server that is starting; the last one is all that is wanted.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

async fn ask_kafka(port: u16) -> Result<(), NotReady> {
    let asking = tokio::task::spawn_blocking(move || {
        let yet = |error: KafkaError| NotReady::Yet(error.to_string());
        let consumer: BaseConsumer<Silent> = ClientConfig::new()
            .set("bootstrap.servers", Server::Kafka.address(port))
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create_with_context(Silent)
            .map_err(yet)?;
        let metadata = consumer.fetch_metadata(None, ATTEMPT_LIMIT).map_err(yet)?;
        // A broker that is still registering answers and lists nobody.
        if metadata.brokers().iter().any(|broker| broker.port() == i32::from(port)) {
            Ok(())
        } else {
            Err(NotReady::Yet("the broker has not registered yet".to_owned()))
        }
    });
    asking.await.unwrap_or_else(|error| Err(NotReady::Yet(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_says_what_comes_next() {
        let fresh = doc! { "isWritablePrimary": false, "isreplicaset": true, "info": "Does not have a valid replica set config" };
        assert_eq!(next_step(&fresh), NextStep::Initiate);
        let electing = doc! { "isWritablePrimary": false, "secondary": true, "setName": "rs0" };
        assert_eq!(next_step(&electing), NextStep::Wait);
        let primary = doc! { "isWritablePrimary": true, "setName": "rs0" };
        assert_eq!(next_step(&primary), NextStep::Ping);
        let without_sets = doc! { "isWritablePrimary": true };
        assert_eq!(next_step(&without_sets), NextStep::Ping);
    }
}
