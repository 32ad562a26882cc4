//! Every implementation of the repositories keeps its contract.

ackscope_tests::repositories_contract!(embedded, ackscope_tests::contract::embedded::EmbeddedPlace);
ackscope_tests::repositories_contract!(mongodb, ackscope_tests::contract::mongodb::MongoPlace);
ackscope_tests::repositories_contract!(mongodb_with_transactions, ackscope_tests::contract::mongodb::MongoSetPlace);
