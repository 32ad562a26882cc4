//! Every implementation of the cache keeps its contract.

ackscope_tests::cache_contract!(embedded, ackscope_tests::contract::embedded::EmbeddedCachePlace);
