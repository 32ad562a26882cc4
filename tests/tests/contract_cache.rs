//! Every implementation of the cache keeps its contract.

use ackscope_tests::contract::redis::RedisPlace;

ackscope_tests::cache_contract!(embedded, ackscope_tests::contract::embedded::EmbeddedCachePlace);
ackscope_tests::cache_contract!(redis, RedisPlace);
ackscope_tests::flushable_cache_contract!(redis_shared, RedisPlace);
