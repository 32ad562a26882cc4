//! What the clients of the brokers tell about themselves once a second.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use rdkafka::Statistics;

use super::client::Names;
use crate::log::TopicPartition;

/// Figures of the log's clients, at most about a second old; empty until the first ones came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaStatistics {
    /// Records that wait in the producer's queue or for their confirmation.
    pub producer_queue_records: u64,
    /// Bytes of them.
    pub producer_queue_bytes: u64,
    /// The brokers as the producer sees them, by their id.
    pub brokers: Vec<BrokerStatistics>,
    /// What each reader has of each partition, by group and partition.
    pub readers: Vec<ReaderStatistics>,
}

/// A broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStatistics {
    /// The broker's id.
    pub broker_id: i32,
    /// Its address.
    pub name: String,
    /// Whether the producer is connected to it.
    pub is_up: bool,
    /// Mean of a request's round trip in the last second, in microseconds; 0 without requests.
    pub rtt_mean_us: u64,
    /// 99th percentile of it, in microseconds.
    pub rtt_p99_us: u64,
}

/// A reader's share: a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderStatistics {
    /// The consumer group; absent for a reader without one.
    pub group: Option<String>,
    /// The partition.
    pub partition: TopicPartition,
    /// Records between what is committed and the end; absent while that is not known.
    pub lag_records: Option<u64>,
    /// Records that were fetched and not yet polled.
    pub fetch_queue_records: u64,
    /// Bytes of them.
    pub fetch_queue_bytes: u64,
}

/// A client that tells figures.
#[derive(Debug)]
pub(super) struct Source {
    id: u64,
    group: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    producer: BTreeMap<u64, KafkaStatistics>,
    readers: HashMap<u64, Vec<ReaderStatistics>>,
}

/// The newest figures of each client.
#[derive(Debug, Default)]
pub(super) struct Registry {
    state: Mutex<State>,
}

impl Registry {
    pub(super) fn enter(&self, group: Option<&str>) -> Source {
        let mut state = self.state.lock();
        state.next_id += 1;
        Source { id: state.next_id, group: group.map(str::to_owned) }
    }

    pub(super) fn leave(&self, source: &Source) {
        let mut state = self.state.lock();
        state.producer.remove(&source.id);
        state.readers.remove(&source.id);
    }

    pub(super) fn report(&self, source: &Source, told: &Statistics, names: &Names) {
        if told.client_type == "producer" {
            let brokers = told.brokers.values().filter(|broker| broker.nodeid >= 0).map(|broker| BrokerStatistics {
                broker_id: broker.nodeid,
                name: broker.nodename.clone(),
                is_up: broker.state == "UP",
                rtt_mean_us: broker.rtt.as_ref().map_or(0, |rtt| positive(rtt.avg)),
                rtt_p99_us: broker.rtt.as_ref().map_or(0, |rtt| positive(rtt.p99)),
            });
            let mut brokers: Vec<BrokerStatistics> = brokers.collect();
            brokers.sort_by_key(|broker| broker.broker_id);
            let figures = KafkaStatistics {
                producer_queue_records: told.msg_cnt,
                producer_queue_bytes: told.msg_size,
                brokers,
                readers: Vec::new(),
            };
            self.state.lock().producer.insert(source.id, figures);
            return;
        }
        let mut readers = Vec::new();
        for topic in told.topics.values() {
            for partition in topic.partitions.values() {
                // Others of the topic are known too, without being read.
                if partition.fetch_state != "active" {
                    continue;
                }
                if let Some(at) = names.partition(&topic.topic, partition.partition) {
                    readers.push(ReaderStatistics {
                        group: source.group.clone(),
                        partition: at,
                        lag_records: u64::try_from(partition.consumer_lag).ok(),
                        fetch_queue_records: positive(partition.fetchq_cnt),
                        fetch_queue_bytes: partition.fetchq_size,
                    });
                }
            }
        }
        self.state.lock().readers.insert(source.id, readers);
    }

    pub(super) fn statistics(&self) -> KafkaStatistics {
        let state = self.state.lock();
        // The newest producer: one before it may still be ending.
        let mut statistics = state.producer.values().next_back().cloned().unwrap_or_default();
        statistics.readers = state.readers.values().flatten().cloned().collect();
        statistics.readers.sort_by(|a, b| (&a.group, a.partition).cmp(&(&b.group, b.partition)));
        statistics
    }
}

/// A figure that stands below zero while it is not known.
fn positive(figure: i64) -> u64 {
    u64::try_from(figure).unwrap_or(0)
}
