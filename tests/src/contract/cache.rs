//! The contract of a [`ConversationCache`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ackscope_core::cache::{ConversationCache, FillTicket, Lookup};
use ackscope_core::clock::Clock;
use ackscope_core::repositories::StoredConversation;
use ackscope_protocol::wire::ConversationKind;
use ackscope_protocol::{ConversationId, Timestamp};
use uuid::Uuid;

/// Somewhere a cache keeps its entries.
pub trait CachePlace: Send + Sync + Sized {
    /// Whether there is such a place on this machine; says it in the summary when not.
    fn is_available() -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// A fresh one.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The cache in it, empty at first.
    fn open(&self, clock: Clock) -> impl Future<Output = Arc<dyn ConversationCache>> + Send;
}

/// A place that can lose everything at any moment.
pub trait FlushableCachePlace: CachePlace {
    /// Everything in it is gone.
    fn flush(&self) -> impl Future<Output = ()> + Send;
}

fn id(number: u128) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(number))
}

fn conversation(conversation_id: ConversationId, version: u64) -> Arc<StoredConversation> {
    Arc::new(StoredConversation {
        conversation_id,
        kind: ConversationKind::Group,
        title: None,
        created_at: Timestamp::from_millis(0),
        version,
        participants: Vec::new(),
    })
}

async fn hit(cache: &dyn ConversationCache, conversation_id: ConversationId) -> Option<Arc<StoredConversation>> {
    match cache.get(conversation_id).await.expect("the cache answers") {
        Lookup::Hit(found) => Some(found),
        Lookup::Miss(_) => None,
    }
}

async fn ticket(cache: &dyn ConversationCache, conversation_id: ConversationId) -> FillTicket {
    match cache.get(conversation_id).await.expect("the cache answers") {
        Lookup::Hit(found) => panic!("expected a miss, found {found:?}"),
        Lookup::Miss(ticket) => ticket,
    }
}

async fn fill(cache: &dyn ConversationCache, conversation_id: ConversationId, version: u64) {
    let ticket = ticket(cache, conversation_id).await;
    let filled = cache.fill(ticket, conversation(conversation_id, version)).await.expect("the cache answers");
    assert!(filled, "nothing made the ticket void");
}

/// A miss gives a ticket; after the fill it is a hit, for that id only.
pub async fn a_filled_entry_is_found(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    fill(&*cache, id(1), 7).await;
    assert_eq!(hit(&*cache, id(1)).await, Some(conversation(id(1), 7)));
    assert_eq!(hit(&*cache, id(2)).await, None);
}

/// An invalidated entry is gone and can be filled again.
pub async fn an_invalidated_entry_is_gone(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    fill(&*cache, id(1), 1).await;
    fill(&*cache, id(2), 1).await;
    cache.invalidate(id(1)).await.expect("the cache answers");
    assert_eq!(hit(&*cache, id(1)).await, None);
    assert!(hit(&*cache, id(2)).await.is_some(), "another entry stays");
    fill(&*cache, id(1), 2).await;
    assert_eq!(hit(&*cache, id(1)).await.map(|found| found.version), Some(2));
}

/// A ticket from before an invalidation fills nothing, whether or not there was an entry.
pub async fn an_invalidation_voids_tickets(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    let early = ticket(&*cache, id(1)).await;
    let other = ticket(&*cache, id(1)).await;
    cache.invalidate(id(1)).await.expect("the cache answers");
    assert!(!cache.fill(early, conversation(id(1), 1)).await.expect("the cache answers"));
    assert_eq!(hit(&*cache, id(1)).await, None);

    // Also beside a newer entry, which must stay.
    fill(&*cache, id(1), 2).await;
    assert!(!cache.fill(other, conversation(id(1), 1)).await.expect("the cache answers"));
    assert_eq!(hit(&*cache, id(1)).await.map(|found| found.version), Some(2));
    assert_eq!(cache.stats().late_fills, 2);
}

/// Two readers that missed the same entry may both fill it.
pub async fn a_second_fill_is_as_good(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    let (one, two) = (ticket(&*cache, id(1)).await, ticket(&*cache, id(1)).await);
    assert!(cache.fill(one, conversation(id(1), 1)).await.expect("the cache answers"));
    assert!(cache.fill(two, conversation(id(1), 1)).await.expect("the cache answers"));
    assert!(hit(&*cache, id(1)).await.is_some());
}

/// Invalidating what is not there is no error.
pub async fn invalidating_nothing_is_fine(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    cache.invalidate(id(1)).await.expect("the cache answers");
    fill(&*cache, id(1), 1).await;
}

/// An entry lives for one hour of business time (S1.2).
pub async fn an_entry_lives_an_hour_of_business_time(place: impl CachePlace) {
    let clock = Clock::default();
    let cache = place.open(clock.clone()).await;
    fill(&*cache, id(1), 1).await;
    clock.advance_ms((59 * 60 + 59) * 1_000);
    assert!(hit(&*cache, id(1)).await.is_some(), "59:59");
    clock.advance_ms(2 * 1_000);
    assert!(hit(&*cache, id(1)).await.is_none(), "60:01");
    // A hit does not prolong it, and a new fill starts a new hour.
    fill(&*cache, id(1), 2).await;
    clock.advance_ms(59 * 60 * 1_000);
    assert_eq!(hit(&*cache, id(1)).await.map(|found| found.version), Some(2));
}

/// What is left of an entry's hour is told, by the business clock, and telling it is no lookup.
pub async fn what_is_left_of_an_entry_is_told(place: impl CachePlace) {
    let clock = Clock::default();
    let cache = place.open(clock.clone()).await;
    let left = async || cache.remaining(id(1)).await.expect("the cache answers");
    assert_eq!(left().await, None, "there is no entry");
    fill(&*cache, id(1), 1).await;
    let full = left().await.expect("there is an entry");
    assert!(full <= Duration::from_hours(1) && full > Duration::from_mins(59), "{full:?}");
    clock.advance_ms(40 * 60 * 1_000);
    let less = left().await.expect("it is still valid");
    assert!(less <= Duration::from_mins(20) && less > Duration::from_mins(19), "{less:?}");
    let before = cache.stats();
    left().await;
    assert_eq!(cache.stats(), before, "it is no lookup");
    clock.advance_ms(20 * 60 * 1_000);
    assert_eq!(left().await, None, "an entry of an hour ago is none");
    fill(&*cache, id(1), 2).await;
    cache.invalidate(id(1)).await.expect("the cache answers");
    assert_eq!(left().await, None, "an invalidated entry is none");
}

/// Hits and misses are counted.
pub async fn hits_and_misses_are_counted(place: impl CachePlace) {
    let cache = place.open(Clock::default()).await;
    fill(&*cache, id(1), 1).await;
    hit(&*cache, id(1)).await;
    hit(&*cache, id(1)).await;
    hit(&*cache, id(2)).await;
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.late_fills), (2, 2, 0));
}

/// With many readers and writers at once, nobody who looks after an invalidation finds what it invalidated.
pub async fn no_stale_entry_outlives_its_invalidation(place: impl CachePlace) {
    const IDS: usize = 4;
    const READERS: usize = 12;
    const CHANGES: usize = 600;

    /// The store's version of a conversation, and the newest version whose invalidation is done.
    #[derive(Default)]
    struct Truth {
        stored: AtomicU64,
        invalidated: AtomicU64,
    }

    let cache = place.open(Clock::default()).await;
    let truths: Arc<Vec<Truth>> = Arc::new((0..IDS).map(|_| Truth::default()).collect());
    let is_over = Arc::new(AtomicBool::new(false));
    let found = Arc::new(AtomicU64::new(0));

    let mut readers = Vec::new();
    for reader in 0..READERS {
        let (cache, truths, is_over, found) =
            (Arc::clone(&cache), Arc::clone(&truths), Arc::clone(&is_over), Arc::clone(&found));
        readers.push(tokio::spawn(async move {
            let mut round = reader;
            while !is_over.load(Ordering::SeqCst) {
                round += 1;
                let truth = &truths[round % IDS];
                let conversation_id = id((round % IDS) as u128);
                let at_least = truth.invalidated.load(Ordering::SeqCst);
                match cache.get(conversation_id).await.expect("the cache answers") {
                    Lookup::Hit(entry) => {
                        found.fetch_add(1, Ordering::Relaxed);
                        assert!(
                            entry.version >= at_least,
                            "found version {} after {at_least} was invalidated",
                            entry.version
                        );
                    }
                    Lookup::Miss(ticket) => {
                        let version = truth.stored.load(Ordering::SeqCst);
                        // The time in which invalidations come: sometimes short, sometimes long.
                        for _ in 0..round % 4 {
                            tokio::task::yield_now().await;
                        }
                        cache.fill(ticket, conversation(conversation_id, version)).await.expect("the cache answers");
                    }
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut writers = Vec::new();
    for (number, _) in truths.iter().enumerate() {
        let (cache, truths) = (Arc::clone(&cache), Arc::clone(&truths));
        writers.push(tokio::spawn(async move {
            for _ in 0..CHANGES {
                let version = truths[number].stored.fetch_add(1, Ordering::SeqCst) + 1;
                cache.invalidate(id(number as u128)).await.expect("the cache answers");
                truths[number].invalidated.store(version, Ordering::SeqCst);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    is_over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("no reader found a stale entry");
    }
    assert!(found.load(Ordering::Relaxed) > 0, "nothing was ever found: the test has shown nothing");
}

/// A cache that lost everything takes no fill from before, even one whose entry was invalidated meanwhile, and works.
pub async fn losing_everything_voids_tickets(place: impl FlushableCachePlace) {
    let cache = place.open(Clock::default()).await;
    fill(&*cache, id(1), 1).await;
    let untouched = ticket(&*cache, id(2)).await;
    let first = ticket(&*cache, id(3)).await;
    cache.invalidate(id(3)).await.expect("the cache answers");
    let second = ticket(&*cache, id(3)).await;
    place.flush().await;
    assert_eq!(hit(&*cache, id(1)).await, None);
    for late in [untouched, first, second] {
        assert!(!cache.fill(late, conversation(late.conversation_id, 1)).await.expect("the cache answers"));
    }
    // Neither do invalidations after the loss bring an earlier generation back.
    for _ in 0..3 {
        cache.invalidate(id(3)).await.expect("the cache answers");
        for late in [first, second] {
            assert!(!cache.fill(late, conversation(id(3), 1)).await.expect("the cache answers"));
        }
    }
    for number in 1..4 {
        fill(&*cache, id(number), 2).await;
        assert_eq!(hit(&*cache, id(number)).await.map(|found| found.version), Some(2));
    }
}

/// What one node invalidates is gone for the other, and its tickets are void there too.
pub async fn nodes_share_entries_and_invalidations(place: impl FlushableCachePlace) {
    let clock = Clock::default();
    let (one, other) = (place.open(clock.clone()).await, place.open(clock).await);
    fill(&*one, id(1), 1).await;
    assert_eq!(hit(&*other, id(1)).await, Some(conversation(id(1), 1)));
    let late = ticket(&*other, id(2)).await;
    one.invalidate(id(1)).await.expect("the cache answers");
    one.invalidate(id(2)).await.expect("the cache answers");
    assert_eq!(hit(&*other, id(1)).await, None);
    assert!(!other.fill(late, conversation(id(2), 1)).await.expect("the cache answers"));
}

/// Makes a test of every behaviour for one implementation of the cache.
#[macro_export]
macro_rules! cache_contract {
    ($implementation:ident, $place:ty) => {
        $crate::contract_tests!(
            $implementation,
            $place,
            cache,
            CachePlace,
            [
                a_filled_entry_is_found,
                an_invalidated_entry_is_gone,
                an_invalidation_voids_tickets,
                a_second_fill_is_as_good,
                invalidating_nothing_is_fine,
                an_entry_lives_an_hour_of_business_time,
                what_is_left_of_an_entry_is_told,
                hits_and_misses_are_counted,
                no_stale_entry_outlives_its_invalidation,
            ]
        );
    };
}

/// Makes a test of what one implementation must do whose entries are kept outside of this process.
#[macro_export]
macro_rules! flushable_cache_contract {
    ($implementation:ident, $place:ty) => {
        $crate::contract_tests!(
            $implementation,
            $place,
            cache,
            CachePlace,
            [losing_everything_voids_tickets, nodes_share_entries_and_invalidations,]
        );
    };
}
