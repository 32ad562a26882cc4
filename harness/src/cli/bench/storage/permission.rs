//! What every event begins with: the conversation with everybody in it, from the cache or from the store.

use std::sync::Arc;

use ackscope_core::clock::Clock;
use ackscope_core::conversations::Conversations;
use ackscope_core::producers::Outbox;
use ackscope_core::repositories::{StoredConversation, StoredParticipant};
use ackscope_core::sqlite::Durability;
use ackscope_protocol::trace::PermissionSource;
use ackscope_protocol::wire::{ConversationKind, Role};
use ackscope_protocol::{ConversationId, Timestamp};
use anyhow::ensure;
use uuid::Uuid;

use super::{Progress, Row, Scratch, Section, Times};

/// People in the conversation.
const SIZES: [u32; 2] = [10, 1_000];
/// Checks from the cache.
const WARM: u64 = 20_000;
/// Checks from the store.
const COLD: u64 = 2_000;

pub(super) async fn measure(progress: &Progress) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    progress.begin("permission", SIZES.len() as u64 * (WARM + COLD));
    for size in SIZES {
        let scratch = Scratch::open(Durability::default())?;
        let backend = &scratch.backend;
        let conversation = conversation(size)?;
        backend.conversations.create(&conversation, &[]).await?;
        let conversations = Conversations::new(
            Arc::clone(&backend.conversations),
            Arc::clone(&backend.participants),
            Arc::clone(&backend.cache),
            Clock::default(),
            Arc::new(Outbox::default()),
        );
        for (expected, count, name) in
            [(PermissionSource::Cache, WARM, "from the cache"), (PermissionSource::Store, COLD, "from the store")]
        {
            let conversation_id = conversation.conversation_id;
            let mut times = Times::new()?;
            conversations.load(conversation_id).await?;
            for _ in 0..count {
                if expected == PermissionSource::Store {
                    conversations.invalidate(conversation_id).await?;
                }
                let (found, source) = times.of(conversations.load(conversation_id)).await?;
                ensure!(source == expected && found.is_some(), "it came from elsewhere: {source:?}");
                progress.advance(1);
            }
            rows.push(Row { name: format!("{name}, a group of {size}"), per_sec: None, times, aim: None });
        }
    }
    Ok(Section { key: "permission", title: "Permission check, Conversations::load", rows })
}

fn conversation(size: u32) -> anyhow::Result<StoredConversation> {
    let participant = |number: u32| {
        Ok(StoredParticipant {
            user_id: format!("user-{number}").parse()?,
            role: if number == 0 { Role::Owner } else { Role::Member },
            joined_at: Timestamp::from_millis(0),
            muted_until: None,
            archived: false,
            removed_at: None,
        })
    };
    Ok(StoredConversation {
        conversation_id: ConversationId::from_uuid(Uuid::from_u128(u128::from(size))),
        kind: ConversationKind::Group,
        title: None,
        created_at: Timestamp::from_millis(0),
        version: 1,
        participants: (0..size).map(participant).collect::<anyhow::Result<_>>()?,
    })
}
