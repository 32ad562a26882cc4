//! Looking for single messages, many in one round.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ackscope_protocol::MessageId;
use futures_util::TryStreamExt as _;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::messages::{BATCH_MAX, by_ids};
use super::operation::Failure;
use super::{MESSAGES, MongoStore, documents};
use crate::repositories::StoreError;
use crate::state::Found;

/// A question for one message, and who wants to know.
#[derive(Debug)]
struct Lookup {
    message_id: MessageId,
    answer: oneshot::Sender<Result<Option<Found>, StoreError>>,
}

/// Questions that wait for the round before them; beyond it callers wait, within their time limit.
const LOOKUPS_MAX: usize = 4_096;
/// Questions of one round.
const LOOKUPS_AT_ONCE: usize = 256;
/// Rounds that are on their way at the same time. The first question of a quiet moment waits for nobody; the busier
/// it is, the more of them share a round.
const ROUNDS_MAX: usize = 4;

/// Asks for single messages, as many in one round as have come while the rounds before were on their way. Every
/// message that is sent asks whether it was sent before (S1.5), and a server answers hundreds as fast as one.
async fn look_up(store: MongoStore, mut lookups: mpsc::Receiver<Lookup>) {
    let rounds = Arc::new(Semaphore::new(ROUNDS_MAX));
    let mut waiting = Vec::new();
    loop {
        // Closed by nobody: an error only means the end.
        let Ok(round) = Arc::clone(&rounds).acquire_owned().await else { return };
        if lookups.recv_many(&mut waiting, LOOKUPS_AT_ONCE).await == 0 {
            return;
        }
        let asked = std::mem::take(&mut waiting);
        let store = store.clone();
        tokio::spawn(async move {
            let ids: BTreeSet<MessageId> = asked.iter().map(|lookup| lookup.message_id).collect();
            let ids: Vec<MessageId> = ids.into_iter().collect();
            let found = store.within(found(&store, &ids)).await;
            drop(round);
            for Lookup { message_id, answer } in asked {
                let one = found.as_ref().map(|found| found.get(&message_id).cloned()).map_err(Clone::clone);
                // Whoever asked may have given up.
                let (Ok(()) | Err(_)) = answer.send(one);
            }
        });
    }
}

/// Where questions go. Clones ask the same task, which ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Lookups {
    sender: mpsc::Sender<Lookup>,
}

impl Lookups {
    /// Starts the task; within a runtime.
    pub(super) fn start(store: &MongoStore) -> Self {
        let (sender, lookups) = mpsc::channel(LOOKUPS_MAX);
        tokio::spawn(look_up(store.clone(), lookups));
        Self { sender }
    }

    /// One message.
    pub(super) async fn find(&self, message_id: MessageId) -> Result<Option<Found>, Failure> {
        let gone = || Failure::Store(StoreError::Unavailable("the program ends".to_owned()));
        let (answer, answered) = oneshot::channel();
        self.sender.send(Lookup { message_id, answer }).await.map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }
}

/// Those of these messages that are there, or were.
pub(super) async fn found(store: &MongoStore, ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, Failure> {
    let mut cursor = store.collection(MESSAGES).find(by_ids(ids)).batch_size(BATCH_MAX).await?;
    let mut found = HashMap::new();
    while let Some(document) = cursor.try_next().await? {
        found.extend(documents::found(&document)?);
    }
    Ok(found)
}
