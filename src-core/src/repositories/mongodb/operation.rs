//! What all operations share: a time limit, typed errors, and write commands with one result for each statement.

use ::mongodb::ClientSession;
use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::error::{Error, ErrorKind, WriteFailure};
use tokio::time::timeout;

use super::MongoStore;
use crate::repositories::StoreError;

/// A document with this key is there already.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// Codes of a document that no server will ever take: it is too large, nested too deeply, or refused by a rule.
const NEVER_STORED: [i32; 5] = [2, 15, 121, 10334, 17419];

/// Bytes of statements that go into one command, half of what a server takes. The documents of a bulk are mostly
/// far smaller.
const COMMAND_MAX_BYTES: usize = 8 * 1024 * 1024;

/// What can go wrong within an operation.
#[derive(Debug)]
pub(super) enum Failure {
    /// As the driver tells it: its labels say what may be repeated.
    Driver(Error),
    /// As the caller is told.
    Store(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Driver(error) => store_error(&error),
        }
    }
}

/// What the caller is told of an error of the driver. Whatever may pass is "unavailable": a network that breaks, a
/// server that steps down, a user whose rights are being changed.
fn store_error(error: &Error) -> StoreError {
    let is_never_stored = match error.kind.as_ref() {
        ErrorKind::BsonDeserialization(_) | ErrorKind::BsonSerialization(_) => true,
        _ => code_of(error).is_some_and(|code| NEVER_STORED.contains(&code)),
    };
    // The kind alone: with the labels and the server's whole answer the sentence would be a page.
    let reason = error.kind.to_string();
    if is_never_stored { StoreError::Damaged(reason) } else { StoreError::Unavailable(reason) }
}

/// The server's code for what it refused.
pub(super) fn code_of(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => many.write_errors.as_ref().and_then(|errors| errors.first()).map(|it| it.code),
        _ => None,
    }
}

pub(super) fn is_duplicate_key(error: &Error) -> bool {
    code_of(error) == Some(DUPLICATE_KEY)
}

pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

/// What a write command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Statements that found their document or made one.
    pub(super) count: usize,
    /// Statements that met a document with their key.
    pub(super) has_duplicates: bool,
}

impl MongoStore {
    /// Does an operation within the time limit. The driver has no limit for a server that took a command and is silent.
    pub(super) async fn within<T>(&self, operation: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
        let limit = self.inner.request_timeout;
        match timeout(limit, operation).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StoreError::Unavailable(format!("MongoDB did not answer within {limit:?}"))),
        }
    }

    /// Runs `update` with these statements, each for itself: one that meets a key that is there already does not stop
    /// the others. In a session, as part of its transaction.
    pub(super) async fn update_each(
        &self,
        collection: &str,
        statements: Vec<Document>,
        mut session: Option<&mut ClientSession>,
    ) -> Result<Written, Failure> {
        let mut written = Written::default();
        for updates in in_commands(statements)? {
            let command = write_command("update", collection, "updates", updates, session.is_none());
            let run = self.inner.database.run_command(command);
            let reply = match session.as_deref_mut() {
                Some(session) => run.session(session).await?,
                None => run.await?,
            };
            let part = read_reply(&reply)?;
            written.count += part.count;
            written.has_duplicates |= part.has_duplicates;
        }
        Ok(written)
    }

    /// Runs `insert` with these documents, each for itself.
    pub(super) async fn insert_each(&self, collection: &str, documents: Vec<Document>) -> Result<Written, Failure> {
        let mut written = Written::default();
        for documents in in_commands(documents)? {
            let command = write_command("insert", collection, "documents", documents, true);
            let part = read_reply(&self.inner.database.run_command(command).await?)?;
            written.count += part.count;
            written.has_duplicates |= part.has_duplicates;
        }
        Ok(written)
    }
}

/// Statements in groups that fit a command.
fn in_commands(statements: Vec<Document>) -> Result<Vec<Vec<Bson>>, Failure> {
    let mut commands: Vec<Vec<Bson>> = Vec::new();
    let mut room = 0;
    for statement in statements {
        let size = ::mongodb::bson::to_vec(&statement).map_err(damaged)?.len();
        match commands.last_mut() {
            Some(command) if size <= room => {
                room -= size;
                command.push(Bson::Document(statement));
            }
            _ => {
                room = COMMAND_MAX_BYTES.saturating_sub(size);
                commands.push(vec![Bson::Document(statement)]);
            }
        }
    }
    Ok(commands)
}

/// A write command. Within a transaction the commit has the write concern, and a statement must not name one.
fn write_command(name: &str, collection: &str, list: &str, statements: Vec<Bson>, has_concern: bool) -> Document {
    let mut command = doc! { name: collection, list: statements, "ordered": false };
    if has_concern {
        command.insert("writeConcern", doc! { "w": "majority", "j": true });
    }
    command
}

/// Reads the answer to a write command. The driver looks only at `ok`, which says nothing of single statements.
fn read_reply(reply: &Document) -> Result<Written, Failure> {
    let mut written = Written { count: usize::try_from(number(reply.get("n"))).unwrap_or(0), has_duplicates: false };
    for error in reply.get_array("writeErrors").into_iter().flatten() {
        let error = error.as_document();
        let code = error.map_or(0, |error| number(error.get("code")));
        if code == i64::from(DUPLICATE_KEY) {
            written.has_duplicates = true;
            continue;
        }
        let message = error.and_then(|error| error.get_str("errmsg").ok()).unwrap_or("no reason was given");
        let is_never_stored = NEVER_STORED.iter().any(|never| i64::from(*never) == code);
        return Err(Failure::Store(if is_never_stored {
            StoreError::Damaged(message.to_owned())
        } else {
            StoreError::Unavailable(format!("MongoDB did not take a write: {message}"))
        }));
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        let message = error.get_str("errmsg").unwrap_or("no reason was given");
        return Err(StoreError::Unavailable(format!("a write did not reach a majority: {message}")).into());
    }
    Ok(written)
}

/// Servers answer with whichever type of number they like.
pub(super) fn number(value: Option<&Bson>) -> i64 {
    match value {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_statement_by_statement() {
        let reply = doc! { "n": 2, "ok": 1.0, "writeErrors": [{ "index": 1, "code": 11000, "errmsg": "twice" }] };
        assert_eq!(read_reply(&reply).unwrap(), Written { count: 2, has_duplicates: true });
        assert_eq!(read_reply(&doc! { "n": 3_i64, "ok": 1 }).unwrap(), Written { count: 3, has_duplicates: false });

        let too_large = doc! { "n": 0, "ok": 1, "writeErrors": [{ "index": 0, "code": 10334, "errmsg": "large" }] };
        assert!(matches!(read_reply(&too_large), Err(Failure::Store(StoreError::Damaged(_)))));
        let not_primary = doc! { "n": 0, "ok": 1, "writeErrors": [{ "index": 0, "code": 10107, "errmsg": "no" }] };
        assert!(matches!(read_reply(&not_primary), Err(Failure::Store(StoreError::Unavailable(_)))));
        let alone = doc! { "n": 1, "ok": 1, "writeConcernError": { "code": 64, "errmsg": "waiting timed out" } };
        assert!(matches!(read_reply(&alone), Err(Failure::Store(StoreError::Unavailable(_)))));
    }

    #[test]
    fn a_statement_of_a_transaction_names_no_write_concern() {
        let alone = write_command("update", "things", "updates", Vec::new(), true);
        assert_eq!(alone.get_document("writeConcern").unwrap(), &doc! { "w": "majority", "j": true });
        assert_eq!(alone.keys().next().map(String::as_str), Some("update"), "the command's name stands first");
        let within = write_command("update", "things", "updates", Vec::new(), false);
        assert!(!within.contains_key("writeConcern"));
    }

    #[test]
    fn large_bulks_become_several_commands() {
        let large = |count: usize| vec![doc! { "text": "x".repeat(3 * 1024 * 1024) }; count];
        let sizes = |count| in_commands(large(count)).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((sizes(0), sizes(2), sizes(5)), (vec![], vec![2], vec![2, 2, 1]));
    }
}
