//! A node and nothing else, as the load generator starts it: no interface, no users, nothing recorded.
//!
//! The signing key comes as a line of hex digits on standard input, where nobody else can read it, and the end
//! of standard input ends the node, so that it never outlives who started it. A line with the word `figures` is
//! answered with one line of JSON: how the node is.

use ackscope_core::node::Roles;
use ackscope_core::token::{KEY_BYTES, TokenKey};
use ackscope_harness::environment::Settings;
use ackscope_harness::load::server::{BareNode, FIGURES, NodeSettings, ReadyLine};
use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use super::args::NodeArgs;
use super::{Exit, Outcome, out, signals};

/// Runs until standard input ends.
pub(crate) async fn node(args: NodeArgs) -> Outcome {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    stdin.read_line(&mut line).await?;
    let NodeArgs { no_socket, no_consumer, media, search, limits } = args;
    let roles = Roles { socket: !no_socket, consumer: !no_consumer };
    // What it runs on comes in the environment alone: whoever starts it has read the settings.
    let environment = Settings::from_variables(|name| std::env::var_os(name))?.environment();
    let settings = NodeSettings { roles, environment, media, search, limits, ..NodeSettings::default() };
    let node = BareNode::start(key(line.trim())?, settings).await?;
    out::json(&ReadyLine { chat: node.chat_url() })?;
    let ended = tokio::select! {
        ended = answer(&node, stdin) => ended,
        _ = signals::asked_to_end() => Ok(()),
    };
    node.shutdown().await;
    ended?;
    Ok(Exit::Pass)
}

/// Says how the node is whenever it is asked, until nobody can ask any more.
async fn answer(node: &BareNode, mut stdin: impl AsyncBufRead + Unpin) -> anyhow::Result<()> {
    let mut line = String::new();
    while stdin.read_line(&mut line).await? > 0 {
        if line.trim() == FIGURES {
            out::json(&node.figures().await?)?;
        }
        line.clear();
    }
    Ok(())
}

fn key(hex: &str) -> anyhow::Result<TokenKey> {
    if hex.len() != KEY_BYTES * 2 || !hex.is_ascii() {
        bail!("expected a key of {} hex digits on standard input", KEY_BYTES * 2);
    }
    let bytes: Vec<u8> = (0..KEY_BYTES)
        .map(|index| u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16))
        .collect::<Result<_, _>>()
        .context("the key is not of hex digits")?;
    Ok(TokenKey::from_bytes(&bytes)?)
}
