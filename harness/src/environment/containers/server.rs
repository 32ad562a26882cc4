//! What is particular to each of the three servers.

use std::fmt;

/// A server of the `containers` backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// The store.
    Mongodb,
    /// The cache.
    Redis,
    /// The event log.
    Kafka,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mongodb, Self::Redis, Self::Kafka];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mongodb => "MongoDB",
            Self::Redis => "Redis",
            Self::Kafka => "Kafka",
        }
    }

    /// The setting that names its image.
    pub fn image_setting(self) -> &'static str {
        match self {
            Self::Mongodb => "ACKSCOPE_MONGODB_IMAGE",
            Self::Redis => "ACKSCOPE_REDIS_IMAGE",
            Self::Kafka => "ACKSCOPE_KAFKA_IMAGE",
        }
    }

    /// Where it listens inside its container.
    pub(super) fn port_inside(self) -> u16 {
        match self {
            Self::Mongodb => 27017,
            Self::Redis => 6379,
            Self::Kafka => 9092,
        }
    }

    /// How clients reach it at this port.
    pub(super) fn address(self, port: u16) -> String {
        match self {
            // The replica set's own address for itself is one inside the container.
            Self::Mongodb => format!("mongodb://127.0.0.1:{port}/?directConnection=true"),
            Self::Redis => format!("redis://127.0.0.1:{port}"),
            Self::Kafka => format!("127.0.0.1:{port}"),
        }
    }

    /// Arguments for the image's entry point; none: the image's own.
    pub(super) fn command(self) -> Vec<&'static str> {
        match self {
            Self::Mongodb => vec!["--replSet", "rs0", "--bind_ip_all"],
            // A cache has nothing to keep; writing to a disk would only make it slower.
            Self::Redis => {
                vec!["redis-server", "--protected-mode", "no", "--bind", "0.0.0.0", "--save", "", "--appendonly", "no"]
            }
            Self::Kafka => Vec::new(),
        }
    }

    /// Variables, for a server that clients reach at this port.
    pub(super) fn variables(self, port: u16) -> Vec<(&'static str, String)> {
        match self {
            Self::Mongodb | Self::Redis => Vec::new(),
            Self::Kafka => [
                ("KAFKA_NODE_ID", "1"),
                ("KAFKA_PROCESS_ROLES", "broker,controller"),
                ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
                ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
                // The address clients are told is not one the broker could reach itself at, so it has another one.
                ("KAFKA_LISTENERS", "PLAINTEXT://0.0.0.0:9092,INTERNAL://localhost:19092,CONTROLLER://localhost:9093"),
                ("KAFKA_INTER_BROKER_LISTENER_NAME", "INTERNAL"),
                ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
                // One broker has one copy of everything.
                ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
                ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
                ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
                ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "1"),
                ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1"),
                // Less to create before the first consumer group works.
                ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "4"),
                ("KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS", "4"),
                // Nobody else is waited for.
                ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .chain([("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port},INTERNAL://localhost:19092"))])
            .collect(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the three servers are. Shown without passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerAddresses {
    /// As in `ACKSCOPE_MONGODB_URI`.
    pub mongodb_uri: String,
    /// As in `ACKSCOPE_REDIS_URL`.
    pub redis_url: String,
    /// As in `ACKSCOPE_KAFKA_BROKERS`: `host:port`, separated by commas.
    pub kafka_brokers: String,
}

impl fmt::Display for ServerAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mongodb, redis) = (without_password(&self.mongodb_uri), without_password(&self.redis_url));
        write!(f, "MongoDB {mongodb}, Redis {redis}, Kafka {}", without_password(&self.kafka_brokers))
    }
}

impl fmt::Debug for ServerAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAddresses")
            .field("mongodb_uri", &without_password(&self.mongodb_uri))
            .field("redis_url", &without_password(&self.redis_url))
            .field("kafka_brokers", &without_password(&self.kafka_brokers))
            .finish()
    }
}

/// The address with `***` for the password in front of its host.
fn without_password(address: &str) -> String {
    let start = address.find("://").map_or(0, |scheme| scheme + 3);
    // A password may hold an @; the host's part ends at the first slash behind the last one before the query.
    let end = address[start..].find('?').map_or(address.len(), |query| start + query);
    let Some(at) = address[start..end].rfind('@').map(|at| start + at) else { return address.to_owned() };
    match address[start..at].find(':') {
        Some(colon) => format!("{}***{}", &address[..=start + colon], &address[at..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("mongodb://ana:se@cret@db.example:27017/?tls=true", "mongodb://ana:***@db.example:27017/?tls=true"),
            ("redis://:secret@cache.example", "redis://:***@cache.example"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("mongodb://ana@db.example/?x=a@b", "mongodb://ana@db.example/?x=a@b"),
            ("a.example:9092,b.example:9092", "a.example:9092,b.example:9092"),
        ] {
            assert_eq!(without_password(address), shown);
        }
        let addresses = ServerAddresses {
            mongodb_uri: "mongodb://ana:secret@db".to_owned(),
            redis_url: "redis://:secret@cache".to_owned(),
            kafka_brokers: "log:9092".to_owned(),
        };
        assert!(!format!("{addresses} {addresses:?}").contains("secret"));
    }
}
