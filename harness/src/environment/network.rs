//! The way to a server: a port of this machine that leads to the server's, and that can be slow, narrow, cut or a hole
//! (S3.3).
//!
//! Clients know this port alone; Kafka's broker tells it to them as its own. What is on its way is bounded: a direction
//! holds at most [`PIECES_MAX`] pieces of [`PIECE_BYTES`], then it reads no more, as a full socket does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ackscope_protocol::faults::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes that are passed on at a time.
const PIECE_BYTES: usize = 16 * 1_024;
/// Pieces that are on their way in one direction of a connection.
const PIECES_MAX: usize = 64;
/// In how many steps a narrow way carries what it may in a second.
const STEPS_PER_SECOND: u64 = 50;
/// How long the container's port may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long accepting waits after the system could give no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is wrong on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Condition {
    /// Nothing.
    #[default]
    Clear,
    Slow {
        delay: Duration,
        jitter: Duration,
    },
    Narrow {
        bytes_per_second: u64,
    },
    Reset,
    Hole,
}

impl Condition {
    /// What a fault is on the way; nothing where it is not played there.
    fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::NetworkLatency { delay_ms, jitter_ms } => {
                Some(Self::Slow { delay: Duration::from_millis(delay_ms), jitter: Duration::from_millis(jitter_ms) })
            }
            Fault::Bandwidth { bytes_per_second } => Some(Self::Narrow { bytes_per_second: bytes_per_second.max(1) }),
            Fault::Reset => Some(Self::Reset),
            Fault::BlackHole => Some(Self::Hole),
            _ => None,
        }
    }
}

/// The way to one server. Dropping it resets every connection.
#[derive(Debug)]
pub struct Link {
    port: u16,
    condition: watch::Sender<Condition>,
    listening: JoinHandle<()>,
}

impl Link {
    /// Opens a way to a server. It is served by the runtime this is called on.
    pub async fn to(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (condition, changes) = watch::channel(Condition::Clear);
        let listening = tokio::spawn(listen(listener, server, changes));
        Ok(Self { port, condition, listening })
    }

    /// Where clients find it, on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a fault is one of the way.
    pub fn can_have(fault: Fault) -> bool {
        Condition::of(fault).is_some()
    }

    /// Sets what is wrong; nothing, or a fault that is none of the way's, clears it.
    pub fn set(&self, fault: Option<Fault>) {
        self.condition.send_replace(fault.and_then(Condition::of).unwrap_or_default());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.condition.send_replace(Condition::Reset);
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, changes: watch::Receiver<Condition>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, server, changes.clone()))),
            Err(error) => {
                // Too many open files, for example: those who come next may have more luck.
                tracing::warn!(%error, "the way to a server could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Carries one connection until both sides have ended it, or it is reset.
async fn carry(mut client: TcpStream, server: SocketAddr, changes: watch::Receiver<Condition>) {
    let mut resets = changes.clone();
    // An error says that the link is gone, and the way with it.
    let until_reset = async { drop(resets.wait_for(|condition| *condition == Condition::Reset).await) };
    let carried = async {
        let mut through = changes.clone();
        // Nobody is reached through a hole.
        if through.wait_for(|condition| *condition != Condition::Hole).await.is_err() {
            return None;
        }
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(server)).await;
        let mut upstream = connected.ok()?.ok()?;
        // Small requests are not held back to be sent together.
        client.set_nodelay(true).and_then(|()| upstream.set_nodelay(true)).ok()?;
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = upstream.split();
        tokio::join!(direction(client_in, server_out, changes.clone()), direction(server_in, client_out, changes));
        Some(())
    };
    let is_done = tokio::select! {
        done = carried => done.is_some(),
        () = until_reset => false,
    };
    // Otherwise without a goodbye. The server's side is dropped by now, which it takes for an end.
    if !is_done && let Err(error) = client.set_zero_linger() {
        tracing::debug!(%error, "a connection ends with a goodbye");
    }
}

/// Passes on what comes, in pieces, each when its time has come. Ends when everything was passed on, or the other side
/// takes no more.
async fn direction(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, changes: watch::Receiver<Condition>) {
    let (pieces, mut on_their_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let (came, mut goes) = (changes.clone(), changes);
    let reading = async move {
        let mut bytes = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let due = Instant::now() + delay_of(*came.borrow());
            if pieces.send((due, bytes[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = on_their_way.recv().await {
            wait(due, &mut goes).await;
            if !put(&piece, &mut to, &mut goes).await {
                return;
            }
        }
        // The other side learns that this one has ended; it may have something to say yet.
        let (Ok(()) | Err(_)) = to.shutdown().await;
    };
    tokio::select! {
        () = writing => {}
        // It ends the writing by closing the channel.
        () = async { reading.await; std::future::pending().await } => {}
    }
}

fn delay_of(condition: Condition) -> Duration {
    match condition {
        Condition::Slow { delay, jitter } => delay + jitter.mul_f64(fastrand::f64()),
        _ => Duration::ZERO,
    }
}

/// Waits for a time, or until the way is clear.
async fn wait(until: Instant, changes: &mut watch::Receiver<Condition>) {
    while Instant::now() < until {
        if *changes.borrow_and_update() == Condition::Clear {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes a piece, as fast as the way is wide; false when the other side takes no more.
async fn put(piece: &[u8], to: &mut WriteHalf<'_>, changes: &mut watch::Receiver<Condition>) -> bool {
    let mut left = piece;
    while !left.is_empty() {
        if changes.wait_for(|condition| *condition != Condition::Hole).await.is_err() {
            return false;
        }
        let rate = match *changes.borrow() {
            Condition::Narrow { bytes_per_second } => Some(bytes_per_second),
            _ => None,
        };
        // A narrow way carries a little at a time, so that a change is felt soon.
        let count = rate.map_or(left.len(), |rate| (rate / STEPS_PER_SECOND).max(1) as usize).min(left.len());
        if to.write_all(&left[..count]).await.is_err() {
            return false;
        }
        left = &left[count..];
        if let Some(rate) = rate {
            wait(Instant::now() + Duration::from_secs_f64(count as f64 / rate as f64), changes).await;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that says back what it hears, with the way to it.
    async fn echo() -> Link {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        Link::to(address).await.unwrap()
    }

    async fn connect(link: &Link) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap()
    }

    async fn say(stream: &mut TcpStream, what: &[u8]) -> std::io::Result<Duration> {
        let started = Instant::now();
        stream.write_all(what).await?;
        let mut heard = vec![0; what.len()];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut heard)).await.expect("an answer comes")?;
        assert_eq!(heard, what);
        Ok(started.elapsed())
    }

    #[tokio::test]
    async fn a_clear_way_passes_everything_on_and_ends_as_the_sides_do() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        let long: Vec<u8> = (0..3 * PIECES_MAX * PIECE_BYTES).map(|byte| byte as u8).collect();
        let (mut from, mut to) = stream.split();
        let mut heard = Vec::new();
        let talk = async {
            let saying = async {
                to.write_all(&long).await.unwrap();
                to.shutdown().await.unwrap();
            };
            tokio::join!(saying, async { from.read_to_end(&mut heard).await.unwrap() });
        };
        tokio::time::timeout(LIMIT, talk).await.unwrap();
        assert!(heard == long, "{} of {} bytes came back", heard.len(), long.len());
    }

    #[tokio::test]
    async fn a_slow_way_takes_its_time_and_lets_go_when_it_is_clear() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        say(&mut stream, b"hello").await.unwrap();
        link.set(Some(Fault::NetworkLatency { delay_ms: 50, jitter_ms: 10 }));
        assert!(say(&mut stream, b"slowly").await.unwrap() >= Duration::from_millis(100), "there and back");
        link.set(Some(Fault::NetworkLatency { delay_ms: 60_000, jitter_ms: 0 }));
        let talk = say(&mut stream, b"at last");
        let heal = async {
            tokio::task::yield_now().await;
            link.set(None);
        };
        let (took, ()) = tokio::join!(talk, heal);
        took.unwrap();
    }

    #[tokio::test]
    async fn a_narrow_way_carries_what_it_can() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        link.set(Some(Fault::Bandwidth { bytes_per_second: 10_000 }));
        assert!(say(&mut stream, &[7; 4_000]).await.unwrap() >= Duration::from_millis(350));
    }

    #[tokio::test]
    async fn a_reset_way_ends_every_connection_and_takes_no_other() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        say(&mut stream, b"hello").await.unwrap();
        link.set(Some(Fault::Reset));
        let ended = tokio::time::timeout(LIMIT, stream.read(&mut [0; 8])).await.expect("it ends");
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        // The system accepts it, and then it is reset.
        if let Ok(mut other) = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await {
            assert!(say(&mut other, b"anybody?").await.is_err());
        }
        link.set(None);
        say(&mut connect(&link).await, b"again").await.unwrap();
    }

    #[tokio::test]
    async fn a_hole_swallows_nothing_for_good() {
        let link = echo().await;
        let mut stream = connect(&link).await;
        say(&mut stream, b"hello").await.unwrap();
        link.set(Some(Fault::BlackHole));
        stream.write_all(b"later").await.unwrap();
        let mut heard = [0; 5];
        let silent = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut heard)).await;
        assert!(silent.is_err(), "nothing comes");
        // A new connection is taken by the system, and nobody answers.
        let mut other = connect(&link).await;
        other.write_all(b"too").await.unwrap();
        link.set(None);
        tokio::time::timeout(LIMIT, stream.read_exact(&mut heard)).await.expect("it comes").unwrap();
        assert_eq!(&heard, b"later");
        let mut heard = [0; 3];
        tokio::time::timeout(LIMIT, other.read_exact(&mut heard)).await.expect("it comes").unwrap();
        assert_eq!(&heard, b"too");
    }

    #[tokio::test]
    async fn other_faults_are_none_of_the_way() {
        let link = echo().await;
        for fault in [Fault::Outage, Fault::Kill, Fault::Hang] {
            assert!(!Link::can_have(fault));
            link.set(Some(fault));
        }
        say(&mut connect(&link).await, b"hello").await.unwrap();
        let mut stream = connect(&link).await;
        say(&mut stream, b"hello").await.unwrap();
        drop(link);
        assert!(tokio::time::timeout(LIMIT, say(&mut stream, b"gone")).await.unwrap().is_err());
    }
}
