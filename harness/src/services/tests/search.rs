//! The search client against the search service.

use std::collections::HashMap;

use ackscope_core::clients::search::BATCH_MAX;
use ackscope_core::clients::{BreakerState, ClientError, IndexOperation, SearchClient};
use ackscope_protocol::{ConversationId, MessageId, Timestamp};
use uuid::Uuid;

use super::super::{SearchOptions, SearchService};
use super::{search_client, some_conversation, some_message, user};

/// The conversation of [`put`].
const CONVERSATION: ConversationId = ConversationId::from_uuid(Uuid::from_u128(7));

pub(super) fn put(text: &str, version: u64) -> IndexOperation {
    put_of(some_message(), text, version)
}

fn put_of(message_id: MessageId, text: &str, version: u64) -> IndexOperation {
    IndexOperation::Put {
        message_id,
        conversation_id: CONVERSATION,
        sender_id: user("alice"),
        text: text.into(),
        created_at: Timestamp::from_millis(1_000),
        version,
    }
}

fn remove(message_id: MessageId) -> IndexOperation {
    IndexOperation::Remove { message_id, conversation_id: CONVERSATION }
}

async fn start() -> (SearchService, SearchClient) {
    let service = SearchService::start(SearchOptions::default()).await.unwrap();
    let client = search_client(service.url());
    (service, client)
}

/// Ids of what is found in [`CONVERSATION`].
async fn find(client: &SearchClient, text: &str) -> Vec<MessageId> {
    let hits = client.query(text, &[CONVERSATION], 100, 0).await.unwrap();
    hits.into_iter().map(|hit| hit.message_id).collect()
}

#[tokio::test]
async fn words_are_found_as_people_write_them() {
    let (service, client) = start().await;
    let texts =
        ["Das Café öffnet um 9 Uhr", "see you tomorrow at the station", "foo-bar: it's NOT \"quoted\"", "Привет мир"];
    let ids = texts.map(|_| some_message());
    let batch: Vec<_> = ids.iter().zip(texts).map(|(id, text)| put_of(*id, text, 1)).collect();
    client.apply(&batch).await.unwrap();
    for (text, expected) in [
        ("cafe", Some(0)),
        ("CAFÉ ÖFFNET", Some(0)),
        ("9", Some(0)),
        ("tomorrow", Some(1)),
        ("tomor", Some(1)),
        ("station see", Some(1)),
        ("t", Some(1)),
        ("tomor station", None),
        ("morrow", None),
        ("foo-bar", Some(2)),
        ("foo bar", Some(2)),
        ("bar-foo", None),
        ("it's", Some(2)),
        ("not", Some(2)),
        ("\"quoted\"", Some(2)),
        ("привет", Some(3)),
        ("nothing of this", None),
    ] {
        let expected: Vec<_> = expected.map(|at: usize| ids[at]).into_iter().collect();
        assert_eq!(find(&client, text).await, expected, "{text:?}");
    }
    service.shutdown().await;
}

#[tokio::test]
async fn no_text_is_a_syntax_error() {
    let (service, client) = start().await;
    client.apply(&[put("hello world AND OR NOT NEAR column text", 1)]).await.unwrap();
    for nothing in
        ["", " ", "!!!", "\"", "\"\"", "*", "-", "()", "^", "👍", "👍🏽 ❤️", "\0", "\u{301}", "\u{feff}", "+ - *"]
    {
        assert_eq!(find(&client, nothing).await, [], "{nothing:?}");
    }
    for nasty in [
        "hello \"",
        "\"hello",
        "hello\"world",
        "hello*",
        "* hello",
        "NEAR(",
        "NEAR(hello world)",
        "hello NEAR/2 world",
        "hello AND",
        "AND",
        "OR OR",
        "NOT",
        "hello NOT",
        "text:hello",
        "{text}:hello",
        "-text:hello",
        "^hello",
        "hello + world",
        "(hello",
        "hello)",
        "hello\0world",
        "hello\0\"",
        "hello 👍",
        "!!! hello",
        "hello !!!",
        "'; DROP TABLE document; --",
        "hello\\",
        "\u{1F600}hello",
    ] {
        let found = find(&client, nasty).await;
        assert!(found.len() <= 1, "{nasty:?}");
    }
    for found in [
        "hello \"",
        "\"hello",
        "hello\"world",
        "hello*",
        "NEAR",
        "hello 👍",
        "!!! hello",
        "hello !!!",
        "hello\0world",
        "and",
    ] {
        assert_eq!(find(&client, found).await.len(), 1, "{found:?}");
    }
    // What nobody thought of.
    let mut rng = fastrand::Rng::with_seed(11);
    let signs = [
        '"', '*', '(', ')', '-', '+', '^', ':', '{', '}', '\0', '\'', ' ', 'a', 'N', 'E', 'A', 'R', '/', '2', 'é', '漢',
    ];
    for _ in 0..300 {
        let text: String = (0..rng.usize(..24))
            .map(|_| if rng.bool() { *rng.choice(&signs).unwrap() } else { rng.char('\0'..=char::MAX) })
            .collect();
        assert!(client.query(&text, &[CONVERSATION], 10, 0).await.is_ok(), "{text:?}");
    }
    let long = "word ".repeat(5_000);
    assert_eq!(find(&client, &long).await, []);
    assert_eq!(find(&client, &"x".repeat(20_000)).await, []);
    service.shutdown().await;
}

#[tokio::test]
async fn only_the_conversations_asked_for_and_thousands_of_them() {
    let (service, client) = start().await;
    let places: Vec<_> = (0..5_000).map(|_| some_conversation()).collect();
    let batch: Vec<_> = places
        .iter()
        .step_by(1_000)
        .map(|place| {
            let mut operation = put("hello", 1);
            if let IndexOperation::Put { conversation_id, .. } = &mut operation {
                *conversation_id = *place;
            }
            operation
        })
        .collect();
    client.apply(&batch).await.unwrap();
    assert_eq!(client.query("hello", &places, 100, 0).await.unwrap().len(), 5);
    assert_eq!(client.query("hello", &places[1..], 100, 0).await.unwrap().len(), 4);
    assert_eq!(client.query("hello", &places[1..2], 100, 0).await.unwrap(), []);
    let before = service.faults().requests();
    assert_eq!(client.query("hello", &[], 100, 0).await.unwrap(), []);
    assert_eq!(client.query("hello", &places, 0, 0).await.unwrap(), []);
    assert_eq!(service.faults().requests(), before, "nothing can be found, so nothing is asked");
    service.shutdown().await;
}

#[tokio::test]
async fn best_first_then_newest_in_pages() {
    let (service, client) = start().await;
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for age in 0..10 {
        let id = some_message();
        let mut operation = put_of(id, "lunch at noon", 1);
        if let IndexOperation::Put { created_at, .. } = &mut operation {
            *created_at = Timestamp::from_millis(1_000_000 - age);
        }
        batch.push(operation);
        expected.push(id);
    }
    // Shorter and said twice: better, though oldest of all.
    let best = some_message();
    let mut operation = put_of(best, "lunch lunch", 1);
    if let IndexOperation::Put { created_at, .. } = &mut operation {
        *created_at = Timestamp::from_millis(0);
    }
    batch.push(operation);
    expected.insert(0, best);
    fastrand::Rng::with_seed(3).shuffle(&mut batch);
    client.apply(&batch).await.unwrap();
    assert_eq!(find(&client, "lunch").await, expected);
    let mut pages = Vec::new();
    for offset in (0..15).step_by(4) {
        let page = client.query("lunch", &[CONVERSATION], 4, offset).await.unwrap();
        pages.extend(page.into_iter().map(|hit| hit.message_id));
    }
    assert_eq!(pages, expected);
    let refused = client.query("lunch", &[CONVERSATION], 1_001, 0).await;
    assert_eq!(refused, Err(ClientError::Refused { reason: "limit_too_large".into() }));
    service.shutdown().await;
}

#[tokio::test]
async fn only_a_newer_version_counts_and_a_removal_is_final() {
    let (service, client) = start().await;
    let id = some_message();
    client.apply(&[put_of(id, "second", 2)]).await.unwrap();
    client.apply(&[put_of(id, "first", 1), put_of(id, "second again", 2)]).await.unwrap();
    assert_eq!(service.document(id).await.unwrap().unwrap().text, "second");
    assert_eq!((find(&client, "first").await, find(&client, "second").await), (vec![], vec![id]));
    client.apply(&[put_of(id, "third", 3)]).await.unwrap();
    assert_eq!((find(&client, "second").await, find(&client, "third").await), (vec![], vec![id]));
    for _ in 0..2 {
        client.apply(&[remove(id)]).await.unwrap();
        client.apply(&[put_of(id, "fourth", 4), put_of(id, "last", u64::MAX)]).await.unwrap();
        assert_eq!((find(&client, "third").await, find(&client, "last").await), (vec![], vec![]));
        assert!(!service.contains(id).await.unwrap());
    }
    // The removal may come first.
    let other = some_message();
    client.apply(&[remove(other)]).await.unwrap();
    client.apply(&[put_of(other, "late", 1)]).await.unwrap();
    assert_eq!(find(&client, "late").await, []);
    assert_eq!(service.count().await.unwrap(), 0);
    service.shutdown().await;
}

#[tokio::test]
async fn any_order_and_repetition_ends_the_same() {
    let (service, client) = start().await;
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut operations = Vec::new();
        let mut expected = HashMap::new();
        for message in 0..8 {
            let id = some_message();
            let versions = rng.u64(1..=4);
            let is_removed = rng.bool();
            for version in 1..=versions {
                operations.push(put_of(id, &format!("seed{seed} message{message} version{version}"), version));
            }
            if is_removed {
                operations.push(remove(id));
            }
            expected.insert(id, (!is_removed).then(|| format!("seed{seed} message{message} version{versions}")));
        }
        let mut played = operations.clone();
        for _ in 0..operations.len() {
            played.push(rng.choice(&operations).unwrap().clone());
        }
        rng.shuffle(&mut played);
        let mut rest = &played[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rng.usize(1..=rest.len()));
            client.apply(batch).await.unwrap();
            rest = after;
        }
        for (id, text) in &expected {
            assert_eq!(service.document(*id).await.unwrap().map(|found| found.text), *text, "seed {seed}");
        }
        // The words of the index agree with the documents.
        let left = expected.values().flatten().count();
        assert_eq!(find(&client, &format!("seed{seed}")).await.len(), left, "seed {seed}");
        for (id, text) in &expected {
            if let Some(text) = text {
                assert_eq!(find(&client, text).await, [*id], "seed {seed}");
            }
        }
    }
    service.shutdown().await;
}

#[tokio::test]
async fn a_batch_is_bounded_and_all_or_nothing() {
    let (service, client) = start().await;
    let mut batch: Vec<_> = (0..BATCH_MAX).map(|at| put(&format!("number{at}"), 1)).collect();
    client.apply(&batch).await.unwrap();
    assert_eq!(service.count().await.unwrap(), 500);
    batch.push(put("one too many", 1));
    assert_eq!(client.apply(&batch).await, Err(ClientError::Refused { reason: "batch_too_large".into() }));
    assert_eq!(find(&client, "many").await, []);
    // The largest batch there can be: every character is written as six bytes.
    let largest: Vec<_> = (0..BATCH_MAX).map(|_| put(&"\u{1}".repeat(4_096), 1)).collect();
    client.apply(&largest).await.unwrap();
    client.apply(&[]).await.unwrap();
    assert_eq!(client.breaker_state(), BreakerState::Closed);
    let pages = [service.documents(None, 600).await.unwrap(), service.documents(None, 10).await.unwrap()];
    assert_eq!(pages.each_ref().map(Vec::len), [600, 10]);
    let next = service.documents(Some(pages[1][9].message_id), 5).await.unwrap();
    assert_eq!(next, pages[0][10..15]);
    service.shutdown().await;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let (service, _) = start().await;
    let http = ackscope_core::clients::transport::http_client_builder(false).unwrap().build().unwrap();
    let put = serde_json::to_value(put("half", 1)).unwrap();
    for (path, body, status, reason) in [
        ("index", String::new(), 400, "malformed_request"),
        ("index", format!(r#"{{"operations": [{put}, {{"operation": "burn"}}]}}"#), 400, "malformed_request"),
        ("query", "[]".to_owned(), 400, "malformed_request"),
        ("query", format!(r#"{{"text": "{}"}}"#, "x".repeat(4 * 1024 * 1024)), 413, "request_too_large"),
        ("elsewhere", "{}".to_owned(), 404, "no_such_route"),
    ] {
        let answer = http.post(format!("{}/{path}", service.url())).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {reason}");
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["error"]["reason"], reason);
    }
    let answer = http.get(format!("{}/query", service.url())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);
    assert_eq!(service.count().await.unwrap(), 0);
    service.shutdown().await;
}

#[tokio::test]
async fn an_index_in_a_file_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = SearchOptions { file: Some(folder.path().join("search").join("index.sqlite")), seed: 0 };
    let (kept, gone) = (some_message(), some_message());
    let service = SearchService::start(options.clone()).await.unwrap();
    search_client(service.url()).apply(&[put_of(kept, "kept", 1), remove(gone)]).await.unwrap();
    service.shutdown().await;
    let service = SearchService::start(options).await.unwrap();
    let client = search_client(service.url());
    client.apply(&[put_of(gone, "kept not", 9)]).await.unwrap();
    assert_eq!(find(&client, "kept").await, [kept]);
    service.shutdown().await;
}
