//! `ackscope token`: a token for a user.

use ackscope_core::clock::Clock;
use ackscope_harness::environment::{load_or_create_token_key, token_key_path};

use super::args::TokenArgs;
use super::{Exit, Outcome, Trouble, out};

/// Prints a token.
pub(crate) fn token(args: &TokenArgs) -> Outcome {
    if args.ttl.0.as_secs() == 0 {
        return Err(Trouble::usage(anyhow::anyhow!("a token that holds for less than a second is of no use")));
    }
    let key = load_or_create_token_key(&token_key_path(|name| std::env::var_os(name))?)?;
    out::line(&key.sign(&args.user, Clock::default().now(), args.ttl.0));
    Ok(Exit::Pass)
}
