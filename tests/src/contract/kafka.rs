//! The place of the log at Kafka: topics of its own, which go away with the test.

use std::sync::Arc;
use std::time::Duration;

use ackscope_core::log::EventLog;
use ackscope_core::log::kafka::{KafkaLog, KafkaOptions};
use uuid::Uuid;

use super::log::LogPlace;
use crate::servers::servers;

/// Topics and groups with a prefix that nobody else has.
pub struct KafkaPlace {
    options: KafkaOptions,
}

impl KafkaPlace {
    /// Settings of the log in it.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// The log in it.
    pub async fn log(&self) -> KafkaLog {
        KafkaLog::connect(&self.options).await.expect("the brokers answer")
    }
}

impl LogPlace for KafkaPlace {
    async fn is_available() -> bool {
        servers().await.is_some()
    }

    async fn fresh() -> Self {
        let brokers = servers().await.expect("the test is only run with servers").kafka_brokers;
        let topic_prefix = format!("ackscope-test-{}.", Uuid::new_v4().simple());
        // Members hear of each other by their heartbeats; with the default a test would mostly wait.
        let heartbeat_interval = Duration::from_millis(200);
        // Tests make and remove topics side by side, which keeps brokers busy; none of them is about a slow answer.
        let (publish_timeout, request_timeout) = (super::PATIENCE, super::PATIENCE);
        let options = KafkaOptions {
            brokers,
            topic_prefix,
            heartbeat_interval,
            publish_timeout,
            request_timeout,
            ..KafkaOptions::default()
        };
        Self { options }
    }

    async fn open(&self) -> Arc<dyn EventLog> {
        Arc::new(self.log().await)
    }

    fn max_record_bytes(&self) -> usize {
        self.options.max_record_bytes
    }
}

impl Drop for KafkaPlace {
    fn drop(&mut self) {
        let options = &self.options;
        super::finish(async {
            let removed = match KafkaLog::connect(options).await {
                Ok(log) => log.delete_topics().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            // Another prefix, which no test looks at.
            if let Err(error) = removed {
                super::complain(&format!("the topics of a test are left behind: {error}"));
            }
        });
    }
}
