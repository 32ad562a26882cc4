//! The main table: who may do what, where. To be held against S1.2–S1.4 and S1.8 line by line.
//!
//! The cells say what the specification says, written down by hand: nothing here is computed from the rules the
//! backend follows, or the matrix would only say that the rules follow themselves.

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::wire::{
    AddParticipant, ArchiveConversation, ConversationKind, DeleteMessage, DownloadUrl, EditMessage, ForwardMessages,
    History, LeaveConversation, MuteConversation, React, RemoveParticipant, Request, SearchQuery, SendMessage,
    UnarchiveConversation, UnmuteConversation, Unreact,
};

use super::ask::{self, Ask};
use super::cell::{Caller, Cell, Expected, Leaves, Place, Told, Whose};
use super::scene::{Prep, REACTION, Scene, SceneSpec};
use super::stage::{NEWCOMER, OTHER_ADMIN, OWNER};

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Sends a text.
    Send,
    /// Sends a text under the event's older name.
    SendOlderName,
    /// Answers somebody else's message.
    Reply,
    /// Edits a message.
    Edit,
    /// Deletes it, leaving a tombstone.
    DeleteSoft,
    /// Deletes it for good.
    DeleteHard,
    /// Hides it.
    DeleteForMe,
    /// Forwards a message of the conversation to a group of the caller's.
    ForwardFrom,
    /// Forwards a message of a group of the caller's into the conversation.
    ForwardInto,
    /// Reacts to somebody else's message.
    React,
    /// Takes its own reaction back.
    Unreact,
    /// Reads the conversation.
    History,
    /// Adds somebody as a member.
    AddMember,
    /// Adds somebody as an admin.
    AddAdmin,
    /// Removes a member.
    RemoveMember,
    /// Removes an admin.
    RemoveAdmin,
    /// Removes the owner.
    RemoveOwner,
    /// Removes itself.
    RemoveItself,
    /// Removes somebody who was never in it.
    RemoveNobody,
    /// Leaves.
    Leave,
    /// Mutes for good.
    Mute,
    /// Unmutes what it muted.
    Unmute,
    /// Archives.
    Archive,
    /// Unarchives what it archived.
    Unarchive,
    /// Asks for the address of a picture in the conversation.
    DownloadUrl,
    /// Searches the conversation.
    Search,
}

use Act::{
    AddAdmin, AddMember, Archive, DeleteForMe, DeleteHard, DeleteSoft, Edit, ForwardFrom, ForwardInto, Leave, Mute,
    RemoveAdmin, RemoveItself, RemoveMember, RemoveNobody, RemoveOwner, Reply, Search, Send, SendOlderName, Unarchive,
    Unmute,
};
use Want::{Gone, No, Not, Ok, Own, Unk};

/// What must come, in the shortest words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Carried out.
    Ok,
    /// `role_forbidden`.
    No,
    /// `not_owner`: only the sender may.
    Own,
    /// `not_participant`: was in it.
    Gone,
    /// `not_found`: never was, and learns nothing.
    Unk,
    /// There is no such situation.
    Not,
}

impl Want {
    fn expected(self) -> Option<Expected> {
        match self {
            Ok => Some(Expected::Ok),
            No => Some(Expected::Refused(ErrorCode::RoleForbidden)),
            Own => Some(Expected::Refused(ErrorCode::NotOwner)),
            Gone => Some(Expected::Refused(ErrorCode::NotParticipant)),
            Unk => Some(Expected::Refused(ErrorCode::NotFound)),
            Not => None,
        }
    }
}

/// A row: what is done, to whose message, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is done.
    pub act: Act,
    /// Whose message it is, where that makes a difference.
    pub whose: Option<Whose>,
    /// In a `direct`: a member, a stranger.
    pub direct: [Want; 2],
    /// In a `group`: [`Caller::ALL`].
    pub group: [Want; 5],
    /// In a `channel`: [`Caller::ALL`].
    pub channel: [Want; 5],
}

const fn row(act: Act, whose: Option<Whose>, direct: [Want; 2], group: [Want; 5], channel: [Want; 5]) -> Row {
    Row { act, whose, direct, group, channel }
}

const MINE: Option<Whose> = Some(Whose::Own);
const THEIRS: Option<Whose> = Some(Whose::Anothers);

/// The table. A `direct` has two members and nobody who was removed; nobody who never was in a conversation has
/// a message there.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    //                          direct         group                                channel
    //                          memb. stran.   owner admin memb. remov. stran.      owner admin memb. remov. stran.
    row(Send,           None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(SendOlderName,  None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(Reply,          None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(Edit,           MINE,   [Ok,  Not],    [Ok,  Ok,   Ok,   Gone,  Not],       [Ok,  Ok,   Ok,   Gone,  Not]),
    row(Edit,           THEIRS, [Own, Unk],    [Own, Own,  Own,  Gone,  Unk],       [Own, Own,  Own,  Gone,  Unk]),
    row(DeleteSoft,     MINE,   [Ok,  Not],    [Ok,  Ok,   Ok,   Gone,  Not],       [Ok,  Ok,   Ok,   Gone,  Not]),
    row(DeleteSoft,     THEIRS, [No,  Unk],    [Ok,  Ok,   No,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(DeleteHard,     MINE,   [Ok,  Not],    [Ok,  Ok,   Ok,   Gone,  Not],       [Ok,  Ok,   Ok,   Gone,  Not]),
    row(DeleteHard,     THEIRS, [No,  Unk],    [Ok,  Ok,   No,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(DeleteForMe,    MINE,   [Ok,  Not],    [Ok,  Ok,   Ok,   Gone,  Not],       [Ok,  Ok,   Ok,   Gone,  Not]),
    row(DeleteForMe,    THEIRS, [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(ForwardFrom,    MINE,   [Ok,  Not],    [Ok,  Ok,   Ok,   Gone,  Not],       [Ok,  Ok,   Ok,   Gone,  Not]),
    row(ForwardFrom,    THEIRS, [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(ForwardInto,    None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(Act::React,     None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Act::Unreact,   None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Act::History,   None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(AddMember,      None,   [No,  Unk],    [Ok,  Ok,   No,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(AddAdmin,       None,   [No,  Unk],    [Ok,  Ok,   No,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(RemoveMember,   None,   [No,  Unk],    [Ok,  Ok,   No,   Gone,  Unk],       [Ok,  Ok,   No,   Gone,  Unk]),
    row(RemoveAdmin,    None,   [Not, Not],    [Ok,  No,   No,   Gone,  Unk],       [Ok,  No,   No,   Gone,  Unk]),
    row(RemoveOwner,    None,   [Not, Not],    [No,  No,   No,   Gone,  Unk],       [No,  No,   No,   Gone,  Unk]),
    row(RemoveItself,   None,   [No,  Unk],    [No,  No,   No,   Gone,  Unk],       [No,  No,   No,   Gone,  Unk]),
    row(RemoveNobody,   None,   [No,  Unk],    [Unk, Unk,  No,   Gone,  Unk],       [Unk, Unk,  No,   Gone,  Unk]),
    row(Leave,          None,   [No,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Mute,           None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Unmute,         None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Archive,        None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    row(Unarchive,      None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
    // The uploader always gets it; for anybody else a picture out of sight is one that does not exist.
    row(Act::DownloadUrl, MINE, [Ok,  Not],    [Ok,  Ok,   Ok,   Ok,    Not],       [Ok,  Ok,   Ok,   Ok,    Not]),
    row(Act::DownloadUrl, THEIRS, [Ok, Unk],   [Ok,  Ok,   Ok,   Unk,   Unk],       [Ok,  Ok,   Ok,   Unk,   Unk]),
    row(Search,         None,   [Ok,  Unk],    [Ok,  Ok,   Ok,   Gone,  Unk],       [Ok,  Ok,   Ok,   Gone,  Unk]),
];

impl Act {
    /// Every act.
    pub const ALL: [Self; 26] = [
        Self::Send,
        Self::SendOlderName,
        Self::Reply,
        Self::Edit,
        Self::DeleteSoft,
        Self::DeleteHard,
        Self::DeleteForMe,
        Self::ForwardFrom,
        Self::ForwardInto,
        Self::React,
        Self::Unreact,
        Self::History,
        Self::AddMember,
        Self::AddAdmin,
        Self::RemoveMember,
        Self::RemoveAdmin,
        Self::RemoveOwner,
        Self::RemoveItself,
        Self::RemoveNobody,
        Self::Leave,
        Self::Mute,
        Self::Unmute,
        Self::Archive,
        Self::Unarchive,
        Self::DownloadUrl,
        Self::Search,
    ];

    /// The client event.
    pub fn event(self) -> &'static str {
        match self {
            Self::Send | Self::Reply => SendMessage::EVENT,
            Self::SendOlderName => SendMessage::OLDER_NAME.unwrap_or(SendMessage::EVENT),
            Self::Edit => EditMessage::EVENT,
            Self::DeleteSoft | Self::DeleteHard | Self::DeleteForMe => DeleteMessage::EVENT,
            Self::ForwardFrom | Self::ForwardInto => ForwardMessages::EVENT,
            Self::React => React::EVENT,
            Self::Unreact => Unreact::EVENT,
            Self::History => History::EVENT,
            Self::AddMember | Self::AddAdmin => AddParticipant::EVENT,
            Self::RemoveMember | Self::RemoveAdmin | Self::RemoveOwner | Self::RemoveItself | Self::RemoveNobody => {
                RemoveParticipant::EVENT
            }
            Self::Leave => LeaveConversation::EVENT,
            Self::Mute => MuteConversation::EVENT,
            Self::Unmute => UnmuteConversation::EVENT,
            Self::Archive => ArchiveConversation::EVENT,
            Self::Unarchive => UnarchiveConversation::EVENT,
            Self::DownloadUrl => DownloadUrl::EVENT,
            Self::Search => SearchQuery::EVENT,
        }
    }

    /// What tells it from other acts of the same event.
    fn manner(self) -> Option<&'static str> {
        Some(match self {
            Self::Reply => "reply",
            Self::DeleteSoft => "soft",
            Self::DeleteHard => "hard",
            Self::DeleteForMe => "for_me",
            Self::ForwardFrom => "from here",
            Self::ForwardInto => "into here",
            Self::AddMember => "as member",
            Self::AddAdmin => "as admin",
            Self::RemoveMember => "a member",
            Self::RemoveAdmin => "an admin",
            Self::RemoveOwner => "the owner",
            Self::RemoveItself => "itself",
            Self::RemoveNobody => "one not in it",
            _ => return None,
        })
    }

    /// The event and the manner, as they stand in cell names.
    pub fn label(self) -> String {
        match self.manner() {
            Some(manner) => format!("{} {manner}", self.event()),
            None => self.event().to_owned(),
        }
    }

    /// What there has to be before.
    pub fn scene(self, kind: ConversationKind, caller: Caller, whose: Option<Whose>) -> SceneSpec {
        let scene = SceneSpec::new(kind, caller);
        match self {
            Self::Reply | Self::React | Self::History | Self::Search => scene.message(Whose::Anothers),
            Self::Edit | Self::DeleteSoft | Self::DeleteHard | Self::DeleteForMe => {
                scene.message(whose.unwrap_or(Whose::Anothers))
            }
            Self::ForwardFrom => scene.message(whose.unwrap_or(Whose::Anothers)).and(Prep::Targets(1)),
            Self::ForwardInto => scene.and(Prep::Sources(1)),
            Self::Unreact => scene.message(Whose::Anothers).and(Prep::Reaction),
            Self::RemoveAdmin => scene.and(Prep::OtherAdmin),
            Self::Unmute => scene.and(Prep::Muted),
            Self::Unarchive => scene.and(Prep::Archived),
            Self::DownloadUrl => scene.message(whose.unwrap_or(Whose::Anothers)).and(Prep::Picture),
            Self::Send
            | Self::SendOlderName
            | Self::AddMember
            | Self::AddAdmin
            | Self::RemoveMember
            | Self::RemoveOwner
            | Self::RemoveItself
            | Self::RemoveNobody
            | Self::Leave
            | Self::Mute
            | Self::Archive => scene,
        }
    }

    /// The request.
    pub fn ask(self, scene: &Scene) -> Ask {
        let (here, message) = (scene.conversation_id, scene.message());
        // The names of the cast are ids.
        let named = |name: &str| name.parse().unwrap_or_else(|_| scene.caller.user_id().clone());
        match self {
            Self::Send => ask::send(here),
            Self::SendOlderName => Ask { event: self.event().to_owned(), ..ask::send(here) },
            Self::Reply => ask::send(here).with("reply_to", message.message_id.to_string()),
            Self::Edit => ask::edit(message),
            Self::DeleteSoft => ask::delete(message, "soft"),
            Self::DeleteHard => ask::delete(message, "hard"),
            Self::DeleteForMe => ask::delete(message, "for_me"),
            Self::ForwardFrom => ask::forward(&[message], &scene.targets),
            Self::ForwardInto => ask::forward(&scene.sources, &[here]),
            Self::React => ask::react(message, REACTION),
            Self::Unreact => ask::unreact(message, REACTION),
            Self::History => ask::history(here),
            Self::AddMember => ask::add(here, &named(NEWCOMER), "member"),
            Self::AddAdmin => ask::add(here, &named(NEWCOMER), "admin"),
            Self::RemoveMember => ask::remove(here, scene.observer.user_id()),
            Self::RemoveAdmin => ask::remove(here, &named(OTHER_ADMIN)),
            Self::RemoveOwner => ask::remove(here, &named(OWNER)),
            Self::RemoveItself => ask::remove(here, scene.caller.user_id()),
            Self::RemoveNobody => ask::remove(here, &named(NEWCOMER)),
            Self::Leave => ask::leave(here),
            Self::Mute => ask::mute(here),
            Self::Unmute => ask::unmute(here),
            Self::Archive => ask::archive(here),
            Self::Unarchive => ask::unarchive(here),
            Self::DownloadUrl => ask::download_url(scene.picture()),
            Self::Search => ask::search(&scene.word).with("conversation_id", here.to_string()),
        }
    }

    /// Who is told of it when it is carried out.
    fn told(self) -> Told {
        match self {
            Self::DeleteForMe | Self::Mute | Self::Unmute | Self::Archive | Self::Unarchive => Told::OnlyTheCaller,
            Self::History | Self::DownloadUrl | Self::Search => Told::Whoever,
            _ => Told::Everybody,
        }
    }

    /// Whether it only reads.
    fn only_reads(self) -> bool {
        matches!(self, Self::History | Self::DownloadUrl | Self::Search)
    }
}

impl Row {
    /// The row's label in the grid.
    pub fn label(&self) -> String {
        match self.whose {
            Some(whose) => format!("{}, {}", self.act.label(), whose.as_str()),
            None => self.act.label(),
        }
    }

    /// The roles of a kind, each with what must come.
    pub fn wants(&self, kind: ConversationKind) -> Vec<(Caller, Want)> {
        match kind {
            ConversationKind::Direct => [Caller::Member, Caller::Stranger].into_iter().zip(self.direct).collect(),
            ConversationKind::Group => Caller::ALL.into_iter().zip(self.group).collect(),
            ConversationKind::Channel => Caller::ALL.into_iter().zip(self.channel).collect(),
        }
    }
}

/// The kinds, in the order of the blocks.
pub const KINDS: [ConversationKind; 3] = [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Channel];

/// Every cell of the table.
pub fn cells() -> Vec<Cell> {
    let of_row = |(number, row): (usize, &Row)| -> Vec<Cell> {
        let of_kind = |kind: ConversationKind| {
            let wants = row.wants(kind).into_iter();
            wants.filter_map(move |(caller, want)| Some(cell(number, *row, kind, caller, want.expected()?)))
        };
        KINDS.into_iter().flat_map(of_kind).collect()
    };
    TABLE.iter().enumerate().flat_map(of_row).collect()
}

fn cell(number: usize, row: Row, kind: ConversationKind, caller: Caller, expected: Expected) -> Cell {
    let whose = row.whose.map(|whose| format!(" / {}", whose.as_str())).unwrap_or_default();
    let is_nothing = expected.is_refused() || row.act.only_reads();
    Cell {
        name: format!("{} / {} / {}{whose}", row.act.label(), caller.as_str(), kind.as_str()),
        event: row.act.event(),
        place: Place::Grid { row: number, kind, caller },
        expected,
        leaves: if is_nothing { Leaves::Nothing } else { Leaves::Something },
        told: row.act.told(),
        scene: row.act.scene(kind, caller, row.whose),
        ask: std::sync::Arc::new(move |scene| row.act.ask(scene)),
        look: None,
        moment: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_act_is_in_the_table() {
        let in_table: HashSet<Act> = TABLE.iter().map(|row| row.act).collect();
        for act in Act::ALL {
            assert!(in_table.contains(&act), "{act:?}");
        }
    }

    #[test]
    fn a_row_stands_for_an_act_and_a_message_once() {
        let mut labels = HashSet::new();
        for row in TABLE {
            assert!(labels.insert(row.label()), "{} stands there twice", row.label());
        }
    }

    #[test]
    fn cells_are_left_out_only_where_there_is_no_such_situation() {
        for row in TABLE {
            for kind in KINDS {
                for (caller, want) in row.wants(kind) {
                    let strangers_own = caller == Caller::Stranger && row.whose == Some(Whose::Own);
                    let roles_of_a_direct =
                        kind == ConversationKind::Direct && matches!(row.act, RemoveAdmin | RemoveOwner);
                    assert_eq!(want == Not, strangers_own || roles_of_a_direct, "{} {kind:?} {caller:?}", row.label());
                }
            }
        }
    }

    #[test]
    fn whoever_is_not_in_it_is_never_told_more() {
        for cell in cells().iter().filter(|cell| cell.scene.caller == Caller::Stranger) {
            assert_eq!(cell.expected, Expected::Refused(ErrorCode::NotFound), "{}", cell.name);
        }
    }

    #[test]
    fn names_are_as_people_write_them() {
        let names: Vec<String> = cells().into_iter().map(|cell| cell.name).collect();
        for name in [
            "message:edit / member / group / another's",
            "message:delete soft / owner / channel / own",
            "conversation:add_participant as admin / stranger / direct",
            "sendMessage / removed / group",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
