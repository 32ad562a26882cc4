//! Transactions of the server: what is repeated, and what is not.

use std::time::Duration;

use ::mongodb::ClientSession;
use ::mongodb::error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use ::mongodb::options::{ReadConcern, TransactionOptions, WriteConcern};

use super::operation::Failure;

/// How long to wait before a transaction that met another one is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// What follows from an error within a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The whole transaction again: nothing of it was done.
    Again,
    /// The commit again: whether it was done is not known, and doing it twice does no harm.
    CommitAgain,
    /// Nothing helps.
    GiveUp,
}

/// What follows from an error before the commit.
pub(super) fn after_work(failure: &Failure) -> Next {
    match failure {
        Failure::Driver(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => Next::Again,
        Failure::Driver(_) | Failure::Store(_) => Next::GiveUp,
    }
}

/// What follows from an error of the commit. A commit whose result is not known must not become a second
/// transaction, so this label is looked at first.
pub(super) fn after_commit(error: &Error) -> Next {
    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
        Next::CommitAgain
    } else if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        Next::Again
    } else {
        Next::GiveUp
    }
}

/// Begins a transaction that reads as of one moment and reaches a majority.
pub(super) async fn begin(session: &mut ClientSession) -> Result<(), Failure> {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    let options = TransactionOptions::builder().read_concern(ReadConcern::snapshot()).write_concern(concern).build();
    Ok(session.start_transaction().with_options(options).await?)
}

/// Gives a transaction up. Its error is of no use: the server gives up by itself what nobody commits.
pub(super) async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(error = %error.kind, "a transaction could not be given up");
    }
}

/// Commits; while it is not known whether that was done, again. False when nothing was done and the whole
/// transaction may be repeated.
pub(super) async fn commit(session: &mut ClientSession) -> Result<bool, Failure> {
    loop {
        let Err(error) = session.commit_transaction().await else { return Ok(true) };
        match after_commit(&error) {
            Next::CommitAgain => tokio::time::sleep(PAUSE).await,
            Next::Again => return Ok(false),
            Next::GiveUp => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repositories::StoreError;

    /// An error with these labels, as a server's answer carries them.
    fn labelled(labels: &[&str]) -> Error {
        use ::mongodb::bson::{doc, from_document};
        use ::mongodb::error::{ErrorKind, WriteConcernError, WriteFailure};
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let answer = doc! { "code": 91, "codeName": "ShutdownInProgress", "errmsg": "going", "errorLabels": labels };
        let concern: WriteConcernError = from_document(answer).unwrap();
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)).into()
    }

    #[test]
    fn a_transaction_that_did_nothing_is_repeated() {
        let transient = labelled(&[TRANSIENT_TRANSACTION_ERROR]);
        assert_eq!(after_commit(&transient), Next::Again);
        assert_eq!(after_work(&Failure::Driver(transient)), Next::Again);
    }

    #[test]
    fn a_commit_whose_result_is_not_known_is_repeated_alone() {
        for labels in [
            &[UNKNOWN_TRANSACTION_COMMIT_RESULT][..],
            &[TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT],
        ] {
            assert_eq!(after_commit(&labelled(labels)), Next::CommitAgain);
        }
    }

    #[test]
    fn an_error_without_a_label_is_final() {
        let error = labelled(&[]);
        assert_eq!(after_commit(&error), Next::GiveUp);
        assert_eq!(after_work(&Failure::Driver(error)), Next::GiveUp);
        assert_eq!(after_work(&Failure::Store(StoreError::Damaged(String::new()))), Next::GiveUp);
    }
}
