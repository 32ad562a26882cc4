//! Every implementation of the event log keeps its contract.

ackscope_tests::log_contract!(embedded, ackscope_tests::contract::embedded::EmbeddedPlace);
ackscope_tests::bounded_log_contract!(embedded_bounded, ackscope_tests::contract::embedded::EmbeddedPlace);
