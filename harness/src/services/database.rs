//! The SQLite database of one service: in memory or a file, used off the async threads.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Mutex;

use super::ServiceError;

/// Statements that are kept prepared; more than there are different ones.
const STATEMENTS_KEPT: usize = 32;

/// One connection. Who wants it waits as a task, not as a thread, so at most one thread works on it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens `file`, or a database in memory, and makes sure that it has `schema`.
    pub(super) async fn open(file: Option<&Path>, version: i64, schema: &'static str) -> Result<Self, ServiceError> {
        let file = file.map(Path::to_owned);
        let opened = tokio::task::spawn_blocking(move || {
            let mut connection = match file {
                Some(file) => {
                    if let Some(folder) = file.parent() {
                        std::fs::create_dir_all(folder)
                            .map_err(|error| ServiceError::Folder { error, path: folder.to_owned() })?;
                    }
                    let connection = Connection::open(file)?;
                    // What was answered survives the end of the process; a power failure is not simulated here.
                    connection.pragma_update(None, "journal_mode", "WAL")?;
                    connection.pragma_update(None, "synchronous", "NORMAL")?;
                    connection
                }
                None => Connection::open_in_memory()?,
            };
            connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
            let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            match found {
                0 => {
                    let transaction = connection.transaction()?;
                    transaction.execute_batch(schema)?;
                    transaction.pragma_update(None, "user_version", version)?;
                    transaction.commit()?;
                }
                found if found == version => {}
                found => return Err(ServiceError::Version(found)),
            }
            Ok(connection)
        });
        let connection = opened.await.map_err(|_| ServiceError::StoreGone)??;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `job` when it is its turn. It is finished even when nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let done = tokio::task::spawn_blocking(move || job(&mut connection));
        Ok(done.await.map_err(|_| ServiceError::StoreGone)??)
    }
}
