//! A MongoDB server that says it is a replica set, for the code that uses transactions where the real thing cannot
//! be had.
//!
//! It stands before a server without transactions: it adds to `hello` what a primary says, keeps the fields of
//! transactions from the server, and answers the end of a transaction itself. So statements count at once, and an
//! abort takes nothing back. What can be tested is that the right commands come in the right order, with the right
//! fields, and what follows from errors that are told in advance.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Bytes of a message's header: its length, its number, the number it answers, and what kind it is.
const HEADER_BYTES: usize = 16;

/// The longest message that is taken, as a server does it.
const MESSAGE_MAX_BYTES: usize = 48_000_000;

/// Fields of a command that only a replica set knows.
const FIELDS: [&str; 4] = ["txnNumber", "autocommit", "startTransaction", "$clusterTime"];

/// A command of a transaction, as it came.
pub type Seen = Document;

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    /// Commands that are answered with these instead, the first one of that name.
    answers: Mutex<VecDeque<(String, Document)>>,
}

/// The server that says so. Ends when it is dropped.
pub struct ReplicaSet {
    address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

impl ReplicaSet {
    /// One before the server at this address, such as `127.0.0.1:27017`.
    pub async fn before(server: impl Into<Arc<str>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let listening = tokio::spawn(listen(listener, address, server.into(), Arc::clone(&state)));
        Ok(Self { address, state, listening })
    }

    /// How a client reaches it.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?replicaSet=rs0", self.address)
    }

    /// Answers the next command of that name in a transaction with this, and keeps it from the server.
    pub fn answer_next(&self, command: &str, answer: Document) {
        self.state.answers.lock().push_back((command.to_owned(), answer));
    }

    /// The commands of transactions that came since the last time.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock())
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, address: SocketAddr, server: Arc<str>, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, state) = (Arc::clone(&server), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&*server).await else { return };
            // Whichever side ends, the connection ends.
            let _ended = serve(client, server, address, &state).await;
        });
    }
}

/// A client sends its next message when it has the answer to the one before.
async fn serve(client: TcpStream, server: TcpStream, address: SocketAddr, state: &State) -> io::Result<()> {
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    loop {
        let mut request = WireMessage::read(&mut client_in).await?;
        let name = request.body.keys().next().cloned().unwrap_or_default();
        if request.body.contains_key("autocommit") {
            state.seen.lock().push(request.body.clone());
            if let Some(body) = state.answer(&name) {
                WireMessage::answer(&request, body).write(&mut client_out).await?;
                continue;
            }
        }
        for field in FIELDS {
            request.body.remove(field);
        }
        if request.body.get_document("readConcern").is_ok_and(|it| it.get_str("level") == Ok("snapshot")) {
            request.body.remove("readConcern");
        }
        request.write(&mut server_out).await?;
        let mut answer = WireMessage::read(&mut server_in).await?;
        if matches!(name.as_str(), "hello" | "isMaster" | "ismaster") {
            answer.body.extend(doc! {
                "setName": "rs0", "setVersion": 1, "hosts": [address.to_string()], "primary": address.to_string(),
                "me": address.to_string(), "isWritablePrimary": true, "ismaster": true, "secondary": false,
            });
        }
        answer.write(&mut client_out).await?;
    }
}

impl State {
    fn answer(&self, name: &str) -> Option<Document> {
        let mut answers = self.answers.lock();
        if let Some(place) = answers.iter().position(|(command, _)| command == name) {
            return answers.remove(place).map(|(_, answer)| answer);
        }
        matches!(name, "commitTransaction" | "abortTransaction").then(|| doc! { "ok": 1.0 })
    }
}

/// A message of MongoDB's protocol (`OP_MSG`): flags, a document, and possibly lists of further documents.
struct WireMessage {
    header: [u8; HEADER_BYTES],
    flags: [u8; 4],
    body: Document,
    /// Sections after the body, as they came.
    rest: Vec<u8>,
}

impl WireMessage {
    async fn read(from: &mut OwnedReadHalf) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header).await?;
        let [a, b, c, d, ..] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if !(HEADER_BYTES + 5..=MESSAGE_MAX_BYTES).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length - HEADER_BYTES];
        from.read_exact(&mut bytes).await?;
        let mut sections = bytes.as_slice();
        let mut flags = [0; 4];
        let mut kind = [0; 1];
        io::Read::read_exact(&mut sections, &mut flags)?;
        io::Read::read_exact(&mut sections, &mut kind)?;
        if kind != [0] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let body = Document::from_reader(&mut sections).map_err(io::Error::other)?;
        Ok(Self { header, flags, body, rest: sections.to_vec() })
    }

    /// An answer to a message, which never came from a server.
    fn answer(request: &Self, body: Document) -> Self {
        let mut header = request.header;
        let (number, kind) = (header[4..8].to_vec(), header[12..].to_vec());
        header[8..12].copy_from_slice(&number);
        header[12..].copy_from_slice(&kind);
        Self { header, flags: [0; 4], body, rest: Vec::new() }
    }

    async fn write(&self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let body = mongodb::bson::to_vec(&self.body).map_err(io::Error::other)?;
        let length = HEADER_BYTES + 5 + body.len() + self.rest.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend(&self.header[4..]);
        bytes.extend(self.flags);
        bytes.push(0);
        bytes.extend(body);
        bytes.extend(&self.rest);
        to.write_all(&bytes).await
    }
}
