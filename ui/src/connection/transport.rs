//! The one place that knows what carries the control connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Most messages that wait between the socket and the interface. A full queue means that the interface does
/// not draw (a browser tab in the background): natively the socket's thread then waits; in the browser, where
/// nothing can wait, the connection closes and later goes on where it was.
pub const QUEUE_MAX_MESSAGES: usize = 256;

/// Wakes the interface when something arrived.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a socket reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// Texts can be sent now.
    Opened,
    /// A text came.
    Text(String),
    /// The socket is gone. The reason is there when the platform tells one; browsers do not.
    Closed {
        /// One line for people.
        reason: Option<String>,
    },
}

/// Opens sockets.
pub trait Transport {
    /// Begins to connect; the socket reports what became of it.
    fn open(&mut self, url: &str, wake: Wake) -> Result<Box<dyn Socket>, String>;
}

/// An open or opening socket. Dropping it closes it.
pub trait Socket {
    /// Sends a text. Before [`SocketEvent::Opened`] and after [`SocketEvent::Closed`] it is lost.
    fn send(&mut self, text: String);

    /// The next event, if there is one. Never waits.
    fn poll(&mut self) -> Option<SocketEvent>;
}

/// WebSockets: the browser's own, or a thread with a TCP connection natively.
#[derive(Debug, Default)]
pub struct WebSockets;

struct WebSocket {
    sender: ewebsock::WsSender,
    events: Receiver<SocketEvent>,
}

impl Transport for WebSockets {
    fn open(&mut self, url: &str, wake: Wake) -> Result<Box<dyn Socket>, String> {
        let (queue, events) = sync_channel(QUEUE_MAX_MESSAGES);
        let on_event = move |event: ewebsock::WsEvent| {
            let event = match event {
                ewebsock::WsEvent::Opened => SocketEvent::Opened,
                ewebsock::WsEvent::Message(ewebsock::WsMessage::Text(text)) => SocketEvent::Text(text),
                // The control protocol is text alone; pings are answered below us.
                ewebsock::WsEvent::Message(_) => return ControlFlow::Continue(()),
                // Browsers tell scripts nothing about why: "Unknown error" would only take the place of words.
                ewebsock::WsEvent::Error(reason) => {
                    SocketEvent::Closed { reason: Some(reason).filter(|reason| reason != "Unknown error") }
                }
                ewebsock::WsEvent::Closed => SocketEvent::Closed { reason: None },
            };
            #[cfg(not(target_arch = "wasm32"))]
            let queued = queue.send(event).is_ok();
            #[cfg(target_arch = "wasm32")]
            let queued = queue.try_send(event).is_ok();
            wake();
            if queued { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let options = ewebsock::Options {
            // A trace batch is far smaller; more than this is not our harness.
            max_incoming_frame_size: 16 * 1024 * 1024,
            ..ewebsock::Options::default()
        };
        let sender = ewebsock::ws_connect(url.to_owned(), options, Box::new(on_event))?;
        Ok(Box::new(WebSocket { sender, events }))
    }
}

impl Socket for WebSocket {
    fn send(&mut self, text: String) {
        self.sender.send(ewebsock::WsMessage::Text(text));
    }

    fn poll(&mut self) -> Option<SocketEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
            // The other end is dropped after a full queue in the browser, where no `Closed` got through.
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Some(SocketEvent::Closed { reason: None }),
        }
    }
}
