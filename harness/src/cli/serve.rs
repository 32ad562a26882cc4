//! `ackscope serve`: the chat server and the interface, until somebody asks it to end.

use std::net::{Ipv4Addr, SocketAddr};

use ackscope_harness::environment::{Settings, load_or_create_token_key, token_key_path};
use ackscope_harness::host::{Host, HostOptions};
use ackscope_harness::recording::RecordOptions;
use ackscope_protocol::control::BackendKind;
use serde::Serialize;

use super::args::{RecordArgs, ServeArgs, environment, load_settings};
use super::{Exit, Outcome, Trouble, out, record, signals};

/// What `--json` prints when ready.
#[derive(Serialize)]
struct Ready<'a> {
    chat: &'a str,
    ui: &'a str,
    backend: BackendKind,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn serve(args: ServeArgs) -> Outcome {
    let flags = Settings { chat: args.chat, ui: args.ui, data: args.data, ..args.backend.flags_with(&args.limits) };
    serve_with(load_settings(flags)?, &args.record, args.json, None).await
}

/// Serves with these settings. `why` is printed before the ready line.
pub(crate) async fn serve_with(settings: Settings, record: &RecordArgs, json: bool, why: Option<&str>) -> Outcome {
    let key_file = token_key_path(|name| std::env::var_os(name))?;
    let options = HostOptions {
        environment: environment(&settings, json),
        chat: settings.chat.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        ui: settings.ui,
        limits: settings.node_limits(),
        unverified_media: settings.unverified_media.unwrap_or_default(),
        token_key: Some(load_or_create_token_key(&key_file)?),
        record: record::by_flags(record, 0).map(|record| RecordOptions { title: Some("By hand".to_owned()), ..record }),
        ..HostOptions::default()
    };
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let host = tokio::select! {
        host = Host::start(options) => host,
        _ = &mut interrupted => return Ok(Exit::Inconclusive),
    };
    let host = match host {
        Ok(host) => host,
        Err(error) if error.is_usage() => return Err(Trouble::usage(error)),
        Err(error) => return Err(Trouble::environment(error)),
    };
    let environment = host.environment();
    if json {
        out::json(&Ready { chat: host.chat_url(), ui: host.ui_url(), backend: environment.backend })?;
    } else {
        if let Some(why) = why {
            out::line(why);
        }
        out::line(&format!(
            "Ready: chat {}/chat, interface {}, backend {}. Ctrl-C ends it.",
            host.chat_url(),
            host.ui_url(),
            environment.reason
        ));
    }
    let ended = interrupted.await;
    let recording = host.world().recording().map(|recording| recording.file().to_owned());
    host.shutdown().await;
    if let (Some(file), false) = (recording, json) {
        out::note(&format!("Recorded: {}", file.display()));
    }
    ended?;
    Ok(Exit::Pass)
}
