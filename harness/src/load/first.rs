//! From starting the program to the first delivered message: what somebody waits who tries it for the first time.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_protocol::ids::{ConversationId, TempId, UserId};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::{AckState, ConversationKind, CreateConversation, SendMessage};
use tokio::io::BufReader;
use tokio::process::Command;

use super::LoadError;
use super::server::ready_line;
use crate::environment::load_or_create_token_key;
use crate::latency::Distribution;
use crate::recorder::Recorder;
use crate::users::{ConnectOptions, SimulatedUser};

/// How long the first message may take after the program is ready.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// Times since the program was started, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct FirstMessage {
    /// It said that it is ready.
    pub ready: Distribution,
    /// The first message was delivered.
    pub delivered: Distribution,
}

/// Starts `program serve` so many times, each time with a folder of its own.
pub async fn first_message(
    program: &Path,
    times: u32,
    mut on_time: impl FnMut(u32),
) -> Result<FirstMessage, LoadError> {
    let mut first = FirstMessage::default();
    for time in 0..times {
        once(program, &mut first).await?;
        on_time(time + 1);
    }
    Ok(first)
}

async fn once(program: &Path, first: &mut FirstMessage) -> Result<(), LoadError> {
    let folder = tempfile::tempdir().map_err(LoadError::machine("no temporary folder"))?;
    // The signing key is made before the start, as it is on a machine that ran the program once.
    let key_file = folder.path().join("ackscope/token.key");
    let token_key = load_or_create_token_key(&key_file).map_err(|error| LoadError::Server(error.to_string()))?;
    let data = folder.path().join("data");

    let started = Instant::now();
    let since_start = |at: Instant| u64::try_from((at - started).as_micros()).unwrap_or(u64::MAX);
    let mut child = Command::new(program)
        .args(["serve", "--json", "--backend", "embedded", "--chat", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env("XDG_STATE_HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(LoadError::machine("the program could not be started"))?;
    let stdout = child.stdout.take().ok_or_else(|| LoadError::Server("it has no standard output".to_owned()))?;
    let ready = ready_line(&mut BufReader::new(stdout)).await?;
    first.ready.record(since_start(Instant::now()));

    let failed = |error: &dyn std::fmt::Display| LoadError::Server(error.to_string());
    let name = |name: &str| name.parse::<UserId>().map_err(|error| failed(&error));
    let user = name("first")?;
    let token = token_key.sign(&user, Clock::default().now(), MESSAGE_LIMIT * 6);
    let options = ConnectOptions::new(user, token, ready.chat, Recorder::new(1_000));
    let user = SimulatedUser::connect(options).await.map_err(|error| failed(&error))?;
    let request =
        CreateConversation { kind: ConversationKind::Direct, participants: vec![name("second")?], title: None };
    let answer = user.request(&request).await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let conversation_id: ConversationId = answer.conversation.conversation_id;
    let temp_id: TempId = "first".parse().map_err(|error| failed(&error))?;
    let text = MessageText::new("Hello").map_err(|error| failed(&error))?;
    let message =
        SendMessage { conversation_id, temp_id: temp_id.clone(), text: Some(text), media: Vec::new(), reply_to: None };
    user.send(message).await.map_err(|error| failed(&error))?;
    let delivered_at = user
        .wait_until(MESSAGE_LIMIT, |view| {
            let acks = view.acks(&temp_id, conversation_id);
            acks.iter().find(|seen| seen.ack.state == AckState::Delivered).map(|seen| seen.at)
        })
        .await
        .map_err(|error| failed(&error))?;
    first.delivered.record(since_start(delivered_at));
    user.disconnect().await;
    // Its files are in the temporary folder, so nothing is left behind.
    child.kill().await.map_err(LoadError::machine("the program could not be ended"))
}
