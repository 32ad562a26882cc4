//! A way to a server that can be held up or cut, as a network and a server that stops do it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes through.
    Open,
    /// It waits: connections are taken and nothing comes back. Once it is open again, everything goes on.
    Held,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A port of this machine that leads to a server. Ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// One to the server at this address, such as `127.0.0.1:27017`.
    pub async fn to(server: impl Into<Arc<str>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (way, ways) = watch::channel(Way::Open);
        let listening = tokio::spawn(listen(listener, server.into(), ways));
        Ok(Self { address, way, listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn turn(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.turn(Way::Cut);
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, server: Arc<str>, ways: watch::Receiver<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, ways) = (Arc::clone(&server), ways.clone());
        tokio::spawn(async move {
            let mut cut = ways.clone();
            tokio::select! {
                () = connect(client, &server, ways) => {}
                _ = cut.wait_for(|way| *way == Way::Cut) => {}
            }
        });
    }
}

async fn connect(client: TcpStream, server: &str, ways: watch::Receiver<Way>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = pass(client_in, server_out, ways.clone()) => {}
        () = pass(server_in, client_out, ways) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut ways: watch::Receiver<Way>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        if ways.wait_for(|way| *way == Way::Open).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
