//! The table of limits. A limit is changed here, in one line.

/// Most characters of a `user_id` (S1.8).
pub const USER_ID_MAX_CHARS: usize = 64;
/// Most characters of a `temp_id` (S1.8).
pub const TEMP_ID_MAX_CHARS: usize = 64;
/// Most characters of a message's text (S1.8). Characters are Unicode scalar values.
pub const TEXT_MAX_CHARS: usize = 4_096;
/// Most media items of a message (S1.8).
pub const MEDIA_MAX_ITEMS: usize = 10;
/// Most characters of a conversation's title.
pub const TITLE_MAX_CHARS: usize = 200;
/// Most other participants named in one `conversation:create`.
pub const PARTICIPANTS_MAX: usize = 1_000;
/// Most messages in a page of `message:history` (S1.8).
pub const HISTORY_PAGE_MAX: u32 = 100;
/// Page size of `message:history` and `conversation:list` when the request names none.
pub const PAGE_DEFAULT: u32 = 50;
/// Most conversations in a page of `conversation:list`.
pub const CONVERSATION_PAGE_MAX: u32 = 100;
/// Most characters of a cursor; a longer one was not made by us.
pub const CURSOR_MAX_CHARS: usize = 4_096;
/// How long after its creation a message may be edited, in milliseconds of business time (S1.3). The last moment counts.
pub const EDIT_WINDOW_MS: i64 = 15 * 60 * 1_000;
/// Most earlier texts a message keeps; one more edit is refused, because every earlier text is kept (S1.3).
pub const EDITS_MAX: usize = 200;
/// Most target conversations of one `message:forward` (S1.3).
pub const FORWARD_TARGETS_MAX: usize = 5;
/// Most messages of one `message:forward` (S1.3).
pub const FORWARD_MESSAGES_MAX: usize = 10;
/// Most different emoji on one message.
pub const REACTION_EMOJI_MAX: usize = 50;
/// Most bytes of an emoji: one grapheme can be of any length, the longest that Unicode recommends has 35.
pub const EMOJI_MAX_BYTES: usize = 64;
/// Most characters of a file's name in `media:upload_url`.
pub const FILE_NAME_MAX_CHARS: usize = 255;
/// Budget of the `pending` ACK in milliseconds (S1.5).
pub const PENDING_BUDGET_MS: u64 = 10;
/// Budget of the `delivered` and `rejected` ACKs in milliseconds (S1.5).
pub const DELIVERED_BUDGET_MS: u64 = 100;
