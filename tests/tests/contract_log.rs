//! Every implementation of the event log keeps its contract.

use ackscope_tests::contract::embedded::{EmbeddedPlace, EmbeddedPlaceWithoutMemory};
use ackscope_tests::contract::kafka::KafkaPlace;

ackscope_tests::log_contract!(embedded, EmbeddedPlace);
ackscope_tests::log_contract!(embedded_without_memory, EmbeddedPlaceWithoutMemory);
ackscope_tests::bounded_log_contract!(embedded_bounded, EmbeddedPlace);
ackscope_tests::log_contract!(kafka, KafkaPlace);
