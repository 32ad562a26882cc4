//! Every fault of both services, seen through the clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clients::{BreakerOptions, BreakerState, ClientError, ClientOptions, MediaClient, SearchClient};
use tokio::task::JoinSet;

use super::super::{MediaOptions, MediaService, SearchOptions, SearchService, ServiceFault};
use super::{LONG, eventually, media_client, options, some_conversation, some_media, user};

const HOUR: Duration = Duration::from_hours(1);
const OPEN_FOR: Duration = Duration::from_millis(20);

/// A client that gives up soon and tries again soon.
fn impatient(url: &str, timeout: Duration) -> ClientOptions {
    ClientOptions { timeout, breaker: BreakerOptions { failures: 3, open_for: OPEN_FOR }, ..options(url) }
}

/// A client whose circuit never opens.
fn stubborn(url: &str) -> ClientOptions {
    ClientOptions { breaker: BreakerOptions { failures: u32::MAX, ..BreakerOptions::default() }, ..options(url) }
}

async fn check(client: &MediaClient) -> Result<(), ClientError> {
    client.check(&user("alice"), &[some_media()], LONG).await.map(|_| ())
}

async fn query(client: &SearchClient) -> Result<(), ClientError> {
    client.query("hello", &[some_conversation()], 10, 0).await.map(|_| ())
}

type IsExpected = fn(&ClientError) -> bool;

/// Every fault, with what a caller sees of it, by the timeout to meet it with: a short one for those that only a
/// timeout ends.
fn every_fault() -> [(Duration, Vec<(ServiceFault, IsExpected)>); 2] {
    let answered: Vec<(ServiceFault, IsExpected)> = vec![
        (ServiceFault::Outage, |error| matches!(error, ClientError::Unreachable(_))),
        (ServiceFault::ErrorShare { share: 1.0, status: 500 }, |error| is_status(error, 500)),
        (ServiceFault::ErrorShare { share: 1.0, status: 404 }, |error| is_status(error, 404)),
        (ServiceFault::ErrorShare { share: 1.0, status: 200 }, |error| is_status(error, 500)),
        (ServiceFault::FailThenWork { count: 1_000_000 }, |error| is_status(error, 503)),
        (ServiceFault::Garbage, |error| matches!(error, ClientError::Malformed(_))),
        (ServiceFault::CutHalfway, |error| matches!(error, ClientError::Unreachable(_))),
    ];
    let silent: Vec<(ServiceFault, IsExpected)> = vec![
        (ServiceFault::Latency { delay: HOUR, jitter: HOUR }, |error| matches!(error, ClientError::TimedOut(_))),
        (ServiceFault::Hang, |error| matches!(error, ClientError::TimedOut(_))),
    ];
    [(LONG, answered), (Duration::from_millis(200), silent)]
}

fn is_status(error: &ClientError, expected: u16) -> bool {
    matches!(error, ClientError::Status { status } if *status == expected)
}

/// Under each fault: typed errors in bounded time until the circuit opens; after healing it closes again.
async fn opens_and_closes(
    set_fault: impl Fn(Option<ServiceFault>),
    faults: Vec<(ServiceFault, IsExpected)>,
    state: impl Fn() -> BreakerState,
    mut call: impl AsyncFnMut() -> Result<(), ClientError>,
) {
    for (fault, is_expected) in faults {
        eventually("it works before the fault", async || call().await.is_ok()).await;
        set_fault(Some(fault));
        for _ in 0..3 {
            let began = Instant::now();
            let error = call().await.unwrap_err();
            assert!(is_expected(&error), "{fault:?} was seen as {error:?}");
            assert!(error.is_unavailable());
            assert!(began.elapsed() < LONG, "{fault:?} held a caller");
        }
        assert_ne!(state(), BreakerState::Closed, "{fault:?} does not open the circuit");
        eventually("the trial fails and the circuit stays open", async || {
            let outcome = call().await;
            assert!(outcome.is_err(), "{fault:?}");
            outcome != Err(ClientError::CircuitOpen)
        })
        .await;
        assert_ne!(state(), BreakerState::Closed);
        set_fault(None);
        eventually("the circuit closes after healing", async || call().await.is_ok()).await;
        assert_eq!(state(), BreakerState::Closed);
    }
}

#[tokio::test]
async fn media_client_under_every_fault() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    for (timeout, faults) in every_fault() {
        let client = MediaClient::new(impatient(service.url(), timeout)).unwrap();
        let state = || client.breaker_state();
        opens_and_closes(|fault| service.set_fault(fault), faults, state, async || check(&client).await).await;
    }
    service.shutdown().await;
}

#[tokio::test]
async fn search_client_under_every_fault() {
    let service = SearchService::start(SearchOptions::default()).await.unwrap();
    for (timeout, faults) in every_fault() {
        let client = SearchClient::new(impatient(service.url(), timeout)).unwrap();
        let state = || client.breaker_state();
        opens_and_closes(|fault| service.set_fault(fault), faults, state, async || query(&client).await).await;
    }
    service.shutdown().await;
}

#[tokio::test]
async fn garbage_is_malformed_for_every_call() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let client = MediaClient::new(stubborn(service.url())).unwrap();
    service.set_fault(Some(ServiceFault::Garbage));
    // Often enough to meet every kind of garbage.
    for _ in 0..60 {
        let media = some_media();
        assert!(matches!(check(&client).await, Err(ClientError::Malformed(_))));
        assert!(matches!(client.owner(media).await, Err(ClientError::Malformed(_))));
        assert!(matches!(client.download_url(media).await, Err(ClientError::Malformed(_))));
        assert!(matches!(client.delete(media).await, Err(ClientError::Malformed(_))));
    }
    service.shutdown().await;
}

#[tokio::test]
async fn a_service_that_is_gone_is_unreachable() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let client = media_client(service.url());
    assert_eq!(check(&client).await, Ok(()));
    service.shutdown().await;
    assert!(matches!(check(&client).await, Err(ClientError::Unreachable(_))));
}

#[tokio::test]
async fn an_open_circuit_asks_nothing() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let breaker = BreakerOptions { failures: 2, open_for: HOUR };
    let client = MediaClient::new(ClientOptions { breaker, ..options(service.url()) }).unwrap();
    service.set_fault(Some(ServiceFault::FailThenWork { count: 2 }));
    for _ in 0..2 {
        assert_eq!(check(&client).await, Err(ClientError::Status { status: 503 }));
    }
    for _ in 0..20 {
        assert_eq!(check(&client).await, Err(ClientError::CircuitOpen));
    }
    assert_eq!(service.faults().requests(), 2);
    assert_eq!(client.breaker_state(), BreakerState::Open);
    service.shutdown().await;
}

#[tokio::test]
async fn a_half_open_circuit_asks_once() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let breaker = BreakerOptions { failures: 1, open_for: Duration::ZERO };
    let client = Arc::new(MediaClient::new(ClientOptions { breaker, ..options(service.url()) }).unwrap());
    service.set_fault(Some(ServiceFault::FailThenWork { count: 1 }));
    assert_eq!(check(&client).await, Err(ClientError::Status { status: 503 }));
    service.set_fault(Some(ServiceFault::Hang));
    let before = service.faults().requests();
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        calls.spawn(async move { check(&client).await });
    }
    for _ in 0..19 {
        let refused = tokio::time::timeout(LONG, calls.join_next()).await.unwrap();
        assert_eq!(refused.unwrap().unwrap(), Err(ClientError::CircuitOpen));
    }
    assert_eq!(client.breaker_state(), BreakerState::HalfOpen);
    eventually("the trial arrives", async || service.faults().requests() > before).await;
    service.set_fault(None);
    assert_eq!(calls.join_next().await.unwrap().unwrap(), Ok(()));
    assert_eq!(service.faults().requests(), before + 1, "more than the trial was let through");
    assert_eq!(client.breaker_state(), BreakerState::Closed);
    service.shutdown().await;
}

#[tokio::test]
async fn a_trial_whose_caller_left_does_not_stick() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let options =
        ClientOptions { breaker: BreakerOptions { failures: 1, open_for: Duration::ZERO }, ..options(service.url()) };
    let client = Arc::new(MediaClient::new(options).unwrap());
    service.set_fault(Some(ServiceFault::FailThenWork { count: 1 }));
    assert!(check(&client).await.is_err());
    service.set_fault(Some(ServiceFault::Hang));
    let before = service.faults().requests();
    let trial = tokio::spawn({
        let client = Arc::clone(&client);
        async move { check(&client).await }
    });
    eventually("the trial is under way", async || service.faults().requests() > before).await;
    assert_eq!(check(&client).await, Err(ClientError::CircuitOpen));
    trial.abort();
    assert!(trial.await.unwrap_err().is_cancelled());
    service.set_fault(None);
    assert_eq!(check(&client).await, Ok(()));
    assert_eq!(client.breaker_state(), BreakerState::Closed);
    service.shutdown().await;
}

/// Starts a call under `fault` and waits until the service has it.
async fn call_held_by(service: &MediaService, fault: ServiceFault) -> tokio::task::JoinHandle<Result<(), ClientError>> {
    service.set_fault(Some(fault));
    let before = service.faults().requests();
    let client = MediaClient::new(ClientOptions { timeout: HOUR, ..stubborn(service.url()) }).unwrap();
    let call = tokio::spawn(async move { client.check(&user("alice"), &[some_media()], HOUR).await.map(|_| ()) });
    eventually("the request is held", async || service.faults().requests() > before).await;
    call
}

#[tokio::test]
async fn healing_lets_go_what_is_held() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    for fault in [ServiceFault::Hang, ServiceFault::Latency { delay: HOUR, jitter: Duration::ZERO }] {
        let call = call_held_by(&service, fault).await;
        service.set_fault(None);
        assert_eq!(tokio::time::timeout(LONG, call).await.unwrap().unwrap(), Ok(()), "{fault:?}");
        // Another fault takes over what the first one held.
        let call = call_held_by(&service, fault).await;
        service.set_fault(Some(ServiceFault::FailThenWork { count: 1 }));
        let outcome = tokio::time::timeout(LONG, call).await.unwrap().unwrap();
        assert_eq!(outcome, Err(ClientError::Status { status: 503 }), "{fault:?}");
        let call = call_held_by(&service, fault).await;
        service.set_fault(Some(ServiceFault::Outage));
        let outcome = tokio::time::timeout(LONG, call).await.unwrap().unwrap();
        assert!(matches!(outcome, Err(ClientError::Unreachable(_))), "{fault:?}: {outcome:?}");
    }
    // The end of the service lets go too.
    let call = call_held_by(&service, ServiceFault::Hang).await;
    service.shutdown().await;
    assert_eq!(tokio::time::timeout(LONG, call).await.unwrap().unwrap(), Ok(()));
}

#[tokio::test]
async fn fail_then_work_fails_exactly_so_often() {
    let service = SearchService::start(SearchOptions::default()).await.unwrap();
    let client = SearchClient::new(stubborn(service.url())).unwrap();
    for count in [0, 1, 7] {
        service.set_fault(Some(ServiceFault::FailThenWork { count }));
        for _ in 0..count {
            assert_eq!(query(&client).await, Err(ClientError::Status { status: 503 }));
        }
        for _ in 0..3 {
            assert_eq!(query(&client).await, Ok(()));
        }
    }
    service.shutdown().await;
}

#[tokio::test]
async fn a_share_of_errors_is_drawn_from_the_seed() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let service = SearchService::start(SearchOptions { seed, ..SearchOptions::default() }).await.unwrap();
        let client = SearchClient::new(stubborn(service.url())).unwrap();
        for _ in 0..2 {
            service.set_fault(Some(ServiceFault::ErrorShare { share: 0.5, status: 502 }));
            let mut run = Vec::new();
            for _ in 0..64 {
                run.push(query(&client).await.is_ok());
            }
            runs.push(run);
        }
        service.set_fault(Some(ServiceFault::ErrorShare { share: 0.0, status: 502 }));
        assert_eq!(query(&client).await, Ok(()));
        service.shutdown().await;
    }
    assert_eq!(runs[0], runs[1], "set again, it plays the same");
    assert_eq!(runs[0], runs[2], "the same seed plays the same");
    assert_ne!(runs[0], runs[4], "another seed plays something else");
    let failed = runs[0].iter().filter(|is_ok| !**is_ok).count();
    assert!((16..=48).contains(&failed), "{failed} of 64 at a share of one half");
}

#[tokio::test]
async fn a_short_budget_bounds_a_check_below_the_client_timeout() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    let client = MediaClient::new(ClientOptions { timeout: HOUR, ..options(service.url()) }).unwrap();
    service.set_fault(Some(ServiceFault::Hang));
    let budget = Duration::from_millis(20);
    let (alice, media) = (user("alice"), [some_media()]);
    let checked = client.check(&alice, &media, budget);
    assert_eq!(tokio::time::timeout(LONG, checked).await.unwrap(), Err(ClientError::TimedOut(budget)));
    // The other way round: the client's own timeout bounds a longer budget.
    let client = MediaClient::new(ClientOptions { timeout: budget, ..options(service.url()) }).unwrap();
    let checked = client.check(&alice, &media, HOUR);
    assert_eq!(tokio::time::timeout(LONG, checked).await.unwrap(), Err(ClientError::TimedOut(budget)));
    service.set_fault(None);
    service.shutdown().await;
}

#[tokio::test]
async fn what_was_cut_was_done() {
    let service = SearchService::start(SearchOptions::default()).await.unwrap();
    let client = SearchClient::new(stubborn(service.url())).unwrap();
    let put = super::search::put("cut off", 1);
    service.set_fault(Some(ServiceFault::CutHalfway));
    assert!(matches!(client.apply(std::slice::from_ref(&put)).await, Err(ClientError::Unreachable(_))));
    service.set_fault(None);
    assert_eq!(service.count().await.unwrap(), 1);
    assert_eq!(client.apply(&[put]).await, Ok(()));
    assert_eq!(service.count().await.unwrap(), 1);
    service.shutdown().await;
}

#[tokio::test]
async fn a_cut_answer_begins_like_a_whole_one() {
    let service = MediaService::start(MediaOptions::default()).await.unwrap();
    service.set_fault(Some(ServiceFault::CutHalfway));
    let http = ackscope_core::clients::transport::http_client_builder(false).unwrap().build().unwrap();
    let body = format!(r#"{{"owner": "alice", "media": ["{}"]}}"#, some_media());
    let mut answer = http.post(format!("{}/media/check", service.url())).body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let whole = r#"{"states":["invalid"]}"#;
    assert_eq!(answer.content_length(), Some(whole.len() as u64));
    assert_eq!(answer.chunk().await.unwrap().unwrap(), whole[..whole.len() / 2]);
    assert!(answer.chunk().await.is_err());
    service.shutdown().await;
}
