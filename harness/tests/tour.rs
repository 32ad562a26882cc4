//! The built-in tour, again and again in one world, as the app plays it.

use std::time::Duration;

use ackscope_harness::audit::audit_history;
use ackscope_harness::history::History;
use ackscope_harness::scenario::play_tour_at;
use ackscope_harness::stored;
use ackscope_harness::world::{World, WorldOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_plays_as_often_as_one_likes_also_after_somebody_was_dropped() {
    let world = World::start(WorldOptions::default()).await.unwrap();
    let ben = "ben".parse().unwrap();
    for _ in 0..3 {
        play_tour_at(&world, None).await.unwrap();
        world.drop_connection(&ben).await.unwrap();
    }
    world.reconnect(&ben).await.unwrap();
    let (one, other) = tokio::join!(play_tour_at(&world, None), play_tour_at(&world, None));
    // Side by side, cleo's dropped connection is pulled away from under the other one; either may stop at that.
    println!("side by side: {one:?}, {other:?}");

    world.quiesce(Duration::from_secs(20)).await.unwrap();
    let history = History::of(&world.recorder().snapshot().events);
    let contents = stored::read(&world, &history).await.unwrap();
    let audit = audit_history(&history, &contents);
    assert_eq!(audit.findings, [], "every promise is kept over all of them");
    assert!(contents.conversations.len() >= 4, "each tour has a conversation of its own");
    assert!(audit.promises.total() > 180, "{:?}", audit.promises);
    world.shutdown().await;
}
