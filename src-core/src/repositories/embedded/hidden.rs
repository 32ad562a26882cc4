//! What users have hidden from themselves, in runs: messages of a conversation with no visible one between them.
//!
//! Somebody may hide a hundred thousand messages in a row, and a page of history must not step over each of them.
//! With runs, a page meets at most one run for each message that it shows.
//!
//! **Invariant:** the runs follow from the messages that are there and from who has hidden which, and from nothing
//! else: whatever order messages and changes come in, the table ends up the same. So two runs that come to touch
//! are joined, and a run that a visible message comes into is split.

use std::collections::BTreeSet;

use ackscope_protocol::UserId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::JobError;

/// A message's place, as the columns have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The conversation's id.
    pub(super) conversation: [u8; 16],
    /// The place in it.
    pub(super) seq: i64,
}

/// Messages of a conversation that a user has hidden: all from the first to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: i64,
    pub(super) last: i64,
}

/// The user's run that begins at this place or is the nearest one before it.
pub(super) const RUN_BEFORE: &str = "SELECT first_seq, last_seq FROM hidden_runs
     WHERE user_id = ?1 AND conversation_id = ?2 AND first_seq <= ?3 ORDER BY first_seq DESC LIMIT 1";

/// See [`RUN_BEFORE`].
pub(super) fn run_before(connection: &Connection, user_id: &str, place: Place) -> Result<Option<Run>, JobError> {
    let found = connection
        .prepare_cached(RUN_BEFORE)?
        .query_row(params![user_id, place.conversation, place.seq], |row| {
            Ok(Run { first: row.get(0)?, last: row.get(1)? })
        })
        .optional()?;
    Ok(found)
}

/// Whether the user has hidden the message at this place.
pub(super) fn is_hidden(connection: &Connection, user_id: &str, place: Place) -> Result<bool, JobError> {
    Ok(run_before(connection, user_id, place)?.is_some_and(|run| place.seq <= run.last))
}

/// A user hid the message at this place. Hiding it again changes nothing.
pub(super) fn hide(connection: &Connection, user_id: &str, place: Place) -> Result<(), JobError> {
    let mut run = Run { first: place.seq, last: place.seq };
    let before = run_before(connection, user_id, place)?;
    if before.is_some_and(|before| place.seq <= before.last) {
        return Ok(());
    }
    if let Some(before) = before
        && neighbour_before(connection, place)? == Some(before.last)
    {
        run.first = before.first;
    }
    if let Some(after) = neighbour_after(connection, place)?
        && let Some(last) = remove_at(connection, user_id, Place { seq: after, ..place })?
    {
        run.last = last;
    }
    put(connection, user_id, place, run)
}

/// A message has come to this place, hidden from these users from the start.
pub(super) fn message_came(
    connection: &Connection,
    place: Place,
    hidden_for: &BTreeSet<UserId>,
) -> Result<(), JobError> {
    for (user_id, run) in runs_around(connection, place)? {
        if hidden_for.iter().any(|hidden_for| hidden_for.as_str() == user_id) {
            continue;
        }
        // It lies within the run, so the run has messages on both sides of it.
        if let Some(last) = neighbour_before(connection, place)? {
            put(connection, &user_id, place, Run { last, ..run })?;
        }
        if let Some(first) = neighbour_after(connection, place)? {
            put(connection, &user_id, place, Run { first, ..run })?;
        }
    }
    for user_id in hidden_for {
        hide(connection, user_id.as_str(), place)?;
    }
    Ok(())
}

/// The message at this place was removed.
pub(super) fn message_went(connection: &Connection, place: Place) -> Result<(), JobError> {
    let (before, after) = (neighbour_before(connection, place)?, neighbour_after(connection, place)?);
    for (user_id, run) in runs_around(connection, place)? {
        remove_at(connection, &user_id, Place { seq: run.first, ..place })?;
        let first = if run.first == place.seq { after } else { Some(run.first) };
        let last = if run.last == place.seq { before } else { Some(run.last) };
        if run.first < run.last
            && let (Some(first), Some(last)) = (first, last)
        {
            put(connection, &user_id, place, Run { first, last })?;
        }
    }
    // Those who saw it may have hidden what was on both sides of it.
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    let mut statement = connection
        .prepare_cached("SELECT user_id, first_seq FROM hidden_runs WHERE conversation_id = ?1 AND last_seq = ?2")?;
    let ending = statement
        .query_map(params![place.conversation, before], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    for (user_id, first) in ending {
        if let Some(last) = remove_at(connection, &user_id, Place { seq: after, ..place })? {
            put(connection, &user_id, place, Run { first, last })?;
        }
    }
    Ok(())
}

/// Everybody's runs that this place is within.
pub(super) const RUNS_AROUND: &str = "SELECT user_id, first_seq, last_seq FROM hidden_runs
     WHERE conversation_id = ?1 AND last_seq >= ?2 AND first_seq <= ?2";

fn runs_around(connection: &Connection, place: Place) -> Result<Vec<(String, Run)>, JobError> {
    let mut statement = connection.prepare_cached(RUNS_AROUND)?;
    let runs = statement.query_map(params![place.conversation, place.seq], |row| {
        Ok((row.get(0)?, Run { first: row.get(1)?, last: row.get(2)? }))
    })?;
    Ok(runs.collect::<rusqlite::Result<_>>()?)
}

/// Writes a run, over one with the same beginning.
fn put(connection: &Connection, user_id: &str, place: Place, run: Run) -> Result<(), JobError> {
    connection
        .prepare_cached(
            "INSERT INTO hidden_runs (user_id, conversation_id, first_seq, last_seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user_id, conversation_id, first_seq) DO UPDATE SET last_seq = excluded.last_seq",
        )?
        .execute(params![user_id, place.conversation, run.first, run.last])?;
    Ok(())
}

/// Removes the user's run that begins at this place, if there is one, and gives its end.
fn remove_at(connection: &Connection, user_id: &str, place: Place) -> Result<Option<i64>, JobError> {
    let last = connection
        .prepare_cached(
            "DELETE FROM hidden_runs WHERE user_id = ?1 AND conversation_id = ?2 AND first_seq = ?3
             RETURNING last_seq",
        )?
        .query_row(params![user_id, place.conversation, place.seq], |row| row.get(0))
        .optional()?;
    Ok(last)
}

fn neighbour_before(connection: &Connection, place: Place) -> Result<Option<i64>, JobError> {
    let seq = connection
        .prepare_cached("SELECT max(seq) FROM messages WHERE conversation_id = ?1 AND seq < ?2")?
        .query_row(params![place.conversation, place.seq], |row| row.get(0))?;
    Ok(seq)
}

fn neighbour_after(connection: &Connection, place: Place) -> Result<Option<i64>, JobError> {
    let seq = connection
        .prepare_cached("SELECT min(seq) FROM messages WHERE conversation_id = ?1 AND seq > ?2")?
        .query_row(params![place.conversation, place.seq], |row| row.get(0))?;
    Ok(seq)
}
