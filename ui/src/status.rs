//! What is drawn, in one short text for automation and for screen readers.

use serde::Serialize;

/// What the interface shows right now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the control connection is up.
    pub connected: bool,
    /// How many simulated users are known.
    pub users: usize,
    /// How many lanes the timeline lists.
    pub lanes: usize,
    /// The last lane that is drawn.
    pub last_lane: Option<LaneStatus>,
}

/// A drawn lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// What the message says.
    pub text: Option<String>,
    /// Who sent it.
    pub sender: Option<String>,
    /// `sending`, `pending`, `delivered`, `rejected` or `persisted`.
    pub state: &'static str,
}

impl Status {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A title for the window or the browser's tab.
    pub fn title(&self, backend: Option<&str>) -> String {
        match (self.connected, backend) {
            (false, _) => "Ackscope (not connected)".to_owned(),
            (true, None) => "Ackscope".to_owned(),
            (true, Some(backend)) => format!("Ackscope · {backend}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_agreed_fields() {
        let status = Status {
            connected: true,
            users: 3,
            lanes: 1,
            last_lane: Some(LaneStatus { text: Some("hi".into()), sender: Some("ana".into()), state: "persisted" }),
        };
        assert_eq!(
            status.to_json(),
            r#"{"connected":true,"users":3,"lanes":1,"last_lane":{"text":"hi","sender":"ana","state":"persisted"}}"#
        );
        assert_eq!(Status::default().to_json(), r#"{"connected":false,"users":0,"lanes":0,"last_lane":null}"#);
    }
}
