//! Media and search over the whole path, with the services well and with each of their faults (S1.7).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_core::media::WhenMediaIsDown;
use ackscope_core::node::Backend;
use ackscope_harness::environment::EnvironmentOptions;
use ackscope_harness::services::{ServiceFault, SimulatedServices};
use ackscope_harness::users::SimulatedUser;
use ackscope_harness::world::{World, WorldOptions};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::{
    AckState, DeleteMessage, DeleteMode, DownloadUrl, EditMessage, ForwardMessages, MediaState, Message, MessageRef,
    RemoveParticipant, SearchQuery, SendMessage, ServerEvent, UploadUrl,
};
use ackscope_protocol::{ConversationId, ErrorCode, MediaId, MessageId};
use ackscope_tests::contract::eventually;
use ackscope_tests::faulty::FaultyMessages;
use ackscope_tests::files::{PNG, download, png, upload};
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{PATIENCE, connect, deliver, group, history, id, message, patient_limits, see, world};

/// Every way a service can fail to answer.
fn faults() -> [ServiceFault; 6] {
    [
        ServiceFault::Outage,
        ServiceFault::Latency { delay: Duration::from_secs(5), jitter: Duration::ZERO },
        ServiceFault::ErrorShare { share: 1.0, status: 500 },
        ServiceFault::Hang,
        ServiceFault::Garbage,
        ServiceFault::CutHalfway,
    ]
}

fn with_media(conversation_id: ConversationId, temp_id: &str, media: &[MediaId]) -> SendMessage {
    SendMessage { media: media.to_vec(), ..message(conversation_id, temp_id, temp_id) }
}

async fn code<R: ackscope_protocol::wire::Request>(user: &SimulatedUser, request: &R) -> Option<ErrorCode> {
    user.request(request).await.unwrap().err().map(|error| error.code)
}

async fn find(user: &SimulatedUser, text: &str) -> Vec<MessageId> {
    let query = SearchQuery { text: MessageText::new(text).unwrap(), conversation_id: None, limit: None };
    let answer = user.request(&query).await.unwrap().unwrap();
    answer.messages.into_iter().map(|message| message.message_id).collect()
}

/// Waits until the message's only media item is told to be in this state.
async fn media_becomes(user: &SimulatedUser, message_id: MessageId, state: MediaState) -> Message {
    let is_it = |event: &ServerEvent| {
        matches!(event, ServerEvent::Edited(edited) if edited.message.message_id == message_id
            && edited.message.media.iter().all(|media| media.media_state == state))
    };
    match &*user.wait_for(0, PATIENCE, is_it).await.unwrap().event {
        ServerEvent::Edited(edited) => edited.message.clone(),
        other => unreachable!("waited for an edit and got {other:?}"),
    }
}

#[tokio::test]
async fn a_picture_is_uploaded_sent_and_downloaded_by_those_who_see_it() {
    let world = world().await;
    let [ana, ben, cleo] = connect(&world, ["ana", "ben", "cleo"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let picture = upload(&ana).await;
    let message_id = deliver(&ana, with_media(conversation, "look", &[picture, picture])).await;
    let seen = see(&ben, message_id).await;
    assert_eq!(
        seen.media.iter().map(|m| (m.media_id, m.media_state)).collect::<Vec<_>>(),
        [(picture, MediaState::Verified)]
    );
    for who in [&ana, &ben] {
        let url = who.request(&DownloadUrl { media_id: picture }).await.unwrap().unwrap().url;
        assert_eq!(download(&url).await, PNG);
    }
    assert_eq!(code(&cleo, &DownloadUrl { media_id: picture }).await, Some(ErrorCode::NotFound));

    // Only its uploader may send it; what is not uploaded or does not exist cannot be sent.
    let announced = ana.request(&png()).await.unwrap().unwrap().media_id;
    for (who, media) in [(&ben, picture), (&ana, announced), (&ana, MediaId::from_uuid(uuid::Uuid::nil()))] {
        assert_eq!(code(who, &with_media(conversation, "wrong", &[media])).await, Some(ErrorCode::MediaInvalid));
    }
    for wrong in [
        UploadUrl { size_bytes: 25 * 1024 * 1024 + 1, ..png() },
        UploadUrl { size_bytes: 0, ..png() },
        UploadUrl { content_type: "text/html".to_owned(), ..png() },
    ] {
        assert_eq!(code(&ana, &wrong).await, Some(ErrorCode::MediaInvalid));
    }

    // Whoever no longer sees a message with it cannot download it; the uploader can.
    let delete = DeleteMessage { conversation_id: conversation, message_id, mode: DeleteMode::Soft };
    ana.request(&delete).await.unwrap().unwrap();
    assert_eq!(code(&ben, &DownloadUrl { media_id: picture }).await, Some(ErrorCode::NotFound));
    ana.request(&DownloadUrl { media_id: picture }).await.unwrap().unwrap();
    world.shutdown().await;
}

#[tokio::test]
async fn media_that_could_not_be_checked_is_checked_after_recovery() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let services = world.services().unwrap();
    for (round, fault) in faults().into_iter().enumerate() {
        let picture = upload(&ana).await;
        let foreign = upload(&ben).await;
        services.media.set_fault(Some(fault));
        let good = deliver(&ana, with_media(conversation, &format!("good {round}"), &[picture])).await;
        let wrong = deliver(&ana, with_media(conversation, &format!("wrong {round}"), &[foreign])).await;
        assert_eq!(see(&ben, good).await.media[0].media_state, MediaState::Unverified, "{fault:?}");
        deliver(&ana, message(conversation, &format!("text {round}"), "text is untouched")).await;
        assert_eq!(code(&ana, &png()).await, Some(ErrorCode::MediaUnavailable), "{fault:?}");
        services.media.set_fault(None);
        for user in [&ana, &ben] {
            media_becomes(user, good, MediaState::Verified).await;
            media_becomes(user, wrong, MediaState::Invalid).await;
        }
    }
    drop(services);
    world.quiesce(PATIENCE).await.unwrap();
    let states: Vec<_> =
        history(&ben, conversation).await.iter().flat_map(|m| m.media.clone()).map(|m| m.media_state).collect();
    assert_eq!(states.len(), 2 * faults().len());
    assert!(!states.contains(&MediaState::Unverified), "{states:?}");
    world.shutdown().await;
}

#[tokio::test]
async fn the_setting_makes_unverified_media_a_rejection() {
    let options = WorldOptions {
        environment: EnvironmentOptions::embedded(),
        limits: patient_limits(),
        unverified_media: WhenMediaIsDown::Reject,
        ..WorldOptions::default()
    };
    let world = World::start(options).await.unwrap();
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let picture = upload(&ana).await;
    world.services().unwrap().media.set_fault(Some(ServiceFault::Outage));
    assert_eq!(code(&ana, &with_media(conversation, "look", &[picture])).await, Some(ErrorCode::MediaUnavailable));
    deliver(&ana, message(conversation, "t", "text is untouched")).await;
    assert_eq!(history(&ben, conversation).await.len(), 1);
    world.shutdown().await;
}

#[tokio::test]
async fn a_copy_keeps_its_picture_when_the_first_message_is_gone() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let (kept, lost) = (upload(&ana).await, upload(&ana).await);
    let first = deliver(&ana, with_media(conversation, "kept", &[kept])).await;
    let second = deliver(&ana, with_media(conversation, "lost", &[lost])).await;
    let forward = ForwardMessages {
        messages: vec![MessageRef { conversation_id: conversation, message_id: first }],
        targets: vec![conversation],
        temp_id: "f".parse().unwrap(),
    };
    ana.request(&forward).await.unwrap().unwrap();
    for message_id in [first, second] {
        let delete = DeleteMessage { conversation_id: conversation, message_id, mode: DeleteMode::Hard };
        ana.request(&delete).await.unwrap().unwrap();
    }
    world.quiesce(PATIENCE).await.unwrap();
    let services = world.services().unwrap();
    assert!(services.media.item(kept).await.unwrap().is_some());
    assert!(services.media.item(lost).await.unwrap().is_none());
    drop(services);
    ben.request(&DownloadUrl { media_id: kept }).await.unwrap().unwrap();
    assert_eq!(code(&ben, &DownloadUrl { media_id: lost }).await, Some(ErrorCode::NotFound));
    world.shutdown().await;
}

#[tokio::test]
async fn a_copy_that_is_not_stored_yet_keeps_its_picture() {
    let services = SimulatedServices::start(&Clock::default(), None).await.unwrap();
    let mut messages = None;
    let clients = services.clients(WhenMediaIsDown::default()).unwrap();
    let node = TestNode::start_beside(clients, patient_limits(), |backend| {
        let faulty = FaultyMessages::new(backend.messages.clone());
        messages = Some(Arc::clone(&faulty));
        Backend { messages: faulty, ..backend }
    })
    .await;
    let (ana, messages) = (node.connect("ana").await, messages.unwrap());
    let ben = node.connect("ben").await;
    let conversation = group(&ana, &[&ben]).await;
    let picture = upload(&ana).await;
    let first = deliver(&ana, with_media(conversation, "picture", &[picture])).await;
    eventually("it is stored", async || node.node.unpersisted() == 0).await;

    messages.switch_off();
    let forward = ForwardMessages {
        messages: vec![MessageRef { conversation_id: conversation, message_id: first }],
        targets: vec![conversation],
        temp_id: "f".parse().unwrap(),
    };
    let copy = ana.request(&forward).await.unwrap().unwrap().forwarded[0].message_id;
    let delete = |message_id| DeleteMessage { conversation_id: conversation, message_id, mode: DeleteMode::Hard };
    ana.request(&delete(first)).await.unwrap().unwrap();
    let is_there = async || services.media.item(picture).await.unwrap().is_some();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert!(is_there().await, "an acknowledged copy carries it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    messages.switch_on();
    let is_quiet = async || node.node.lag().await.unwrap().iter().all(|(.., behind)| *behind == 0);
    eventually("everything is done", is_quiet).await;
    assert!(is_there().await);
    ana.request(&delete(copy)).await.unwrap().unwrap();
    eventually("nobody carries it any more", async || !is_there().await).await;
    drop((ana, ben));
    node.node.shutdown().await;
    services.shutdown().await;
}

#[tokio::test]
async fn search_finds_what_the_asker_may_see() {
    let world = world().await;
    let [ana, ben, cleo] = connect(&world, ["ana", "ben", "cleo"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let other = group(&ana, &[&cleo]).await;
    let apples = deliver(&ana, message(conversation, "1", "green apples, red apples")).await;
    let pears = deliver(&ben, message(conversation, "2", "pears")).await;
    let secret = deliver(&ana, message(other, "3", "apples for Cléo")).await;
    world.quiesce(PATIENCE).await.unwrap();

    assert_eq!(find(&ben, "apples").await, [apples]);
    assert_eq!(find(&cleo, "cleo").await, [secret]);
    let mut all = find(&ana, "apples").await;
    all.sort_unstable();
    let mut both = vec![apples, secret];
    both.sort_unstable();
    assert_eq!(all, both);
    let inside = |text: &str, conversation_id| SearchQuery {
        text: MessageText::new(text).unwrap(),
        conversation_id: Some(conversation_id),
        limit: None,
    };
    assert_eq!(ana.request(&inside("apples", other)).await.unwrap().unwrap().messages[0].message_id, secret);
    assert_eq!(code(&ben, &inside("apples", other)).await, Some(ErrorCode::NotFound));

    // An edit is found by its new text alone.
    let text = MessageText::new("plums").unwrap();
    ben.request(&EditMessage { conversation_id: conversation, message_id: pears, text }).await.unwrap().unwrap();
    world.quiesce(PATIENCE).await.unwrap();
    assert_eq!(find(&ana, "plums").await, [pears]);
    assert!(find(&ana, "pears").await.is_empty());

    // Hidden for one, deleted for all, removed from the conversation.
    let delete = |message_id, mode| DeleteMessage { conversation_id: conversation, message_id, mode };
    ana.request(&delete(pears, DeleteMode::ForMe)).await.unwrap().unwrap();
    assert!(find(&ana, "plums").await.is_empty());
    assert_eq!(find(&ben, "plums").await, [pears]);
    ana.request(&delete(apples, DeleteMode::Soft)).await.unwrap().unwrap();
    assert!(find(&ben, "apples").await.is_empty());
    world.quiesce(PATIENCE).await.unwrap();
    let services = world.services().unwrap();
    assert!(!services.search.contains(apples).await.unwrap());
    drop(services);
    let remove = RemoveParticipant { conversation_id: conversation, user_id: id("ben") };
    ana.request(&remove).await.unwrap().unwrap();
    assert!(find(&ben, "plums").await.is_empty());
    assert_eq!(code(&ben, &inside("plums", conversation)).await, Some(ErrorCode::NotParticipant));
    world.shutdown().await;
}

#[tokio::test]
async fn what_search_missed_is_indexed_after_recovery() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    for (round, fault) in faults().into_iter().enumerate() {
        let services = world.services().unwrap();
        services.search.set_fault(Some(fault));
        let temp = |what: &str| format!("{what}{round}");
        let stays = deliver(&ana, message(conversation, &temp("stays"), &temp("stays"))).await;
        let goes = deliver(&ana, message(conversation, &temp("goes"), &temp("goes"))).await;
        let text = MessageText::new(temp("changed")).unwrap();
        ana.request(&EditMessage { conversation_id: conversation, message_id: stays, text }).await.unwrap().unwrap();
        let delete = DeleteMessage { conversation_id: conversation, message_id: goes, mode: DeleteMode::Hard };
        ana.request(&delete).await.unwrap().unwrap();
        let query = SearchQuery { text: MessageText::new("x").unwrap(), conversation_id: None, limit: None };
        assert_eq!(code(&ben, &query).await, Some(ErrorCode::SearchUnavailable), "{fault:?}");
        see(&ben, stays).await;
        let persisted = ana.wait_until(PATIENCE, |view| {
            let temp_id = temp("stays").parse().unwrap();
            view.acks(&temp_id, conversation).iter().find(|seen| seen.ack.state == AckState::Persisted).map(drop)
        });
        persisted.await.unwrap();

        services.search.set_fault(None);
        drop(services);
        world.quiesce(PATIENCE).await.unwrap();
        let services = world.services().unwrap();
        assert_eq!(services.search.document(stays).await.unwrap().unwrap().text, temp("changed"), "{fault:?}");
        assert!(!services.search.contains(goes).await.unwrap(), "{fault:?}");
    }
    let world_is_asked_again = find(&ben, "changed0").await;
    assert_eq!(world_is_asked_again.len(), 1);
    world.shutdown().await;
}
