//! Faults of the media and search services under load, briefly: nothing is lost and everything is caught up. How fast
//! is `ackscope bench degradation`'s question.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::token::TokenKey;
use ackscope_harness::load::degradation::{PHASES, degradation};
use ackscope_harness::load::generator::{Crowd, Generator, RoundPlan};
use ackscope_harness::load::round::Outcomes;
use ackscope_harness::load::schedule::Arrivals;
use ackscope_harness::load::server::{NodeSettings, Server};
use ackscope_harness::services::SimulatedServices;

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_media_or_search_loses_refuses_or_leaves_anything_behind() {
    let services = SimulatedServices::start(&Clock::default(), None).await.unwrap();
    let key = TokenKey::generate();
    let settings = NodeSettings {
        media: Some(services.media.url().to_owned()),
        search: Some(services.search.url().to_owned()),
        // A busy machine must not refuse what it only does slowly.
        limits: vec![("send_deadline_ms", 10_000)],
        ..NodeSettings::default()
    };
    let mut server = Server::process(Path::new(support::PROGRAM), &key, &settings).await.unwrap();
    let crowd = Crowd { users: 12, group_size: 4 };
    let mut generator = Generator::connect(server.chat_url(), &key, crowd).await.unwrap();
    generator.upload_pictures().await.unwrap();
    let plan = RoundPlan {
        rate_per_sec: 60,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(2),
        arrivals: Arrivals::Poisson,
        media_share: 0.3,
        seed: 1,
    };
    let reports = degradation(&PHASES, plan, &mut generator, &mut server, &services, |_, _| {}, |_| {}).await.unwrap();
    generator.disconnect().await;
    server.shutdown().await.unwrap();
    services.shutdown().await;

    assert_eq!(reports.len(), PHASES.len());
    for report in reports {
        let name = report.phase.name;
        let counts = &report.round.counts;
        assert_eq!(report.broken(), Vec::<String>::new(), "{name}: {counts:?}");
        assert_eq!(counts.not_sent, 0, "{name}");
        for outcomes in [counts.text, counts.with_media] {
            let Outcomes { sent, delivered, rejected } = outcomes;
            assert!(sent > 0 && delivered == sent && rejected == 0, "{name}: {counts:?}");
        }
        assert_eq!(report.stored.message_ids.len() as u64, counts.sent, "{name}");
        assert_eq!(report.stored.verified, counts.with_media.sent, "{name}");
    }
}
