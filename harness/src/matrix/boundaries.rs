//! The boundaries: both sides of every limit of S1, one cell for each side.

use ackscope_protocol::error::ErrorCode::{
    AlreadyDeleted, InvalidPayload, MediaInvalid, NotFound, NotOwner, NotParticipant, RoleForbidden, TooLarge,
    TooManyMessages, TooManyTargets,
};
use ackscope_protocol::wire::{
    AddParticipant, ConversationKind, CreateConversation, DeleteMessage, DownloadUrl, EditMessage, ForwardMessages,
    History, LeaveConversation, ListConversations, MessageRef, MuteConversation, React, RemoveParticipant, Request,
    SearchQuery, SendMessage, Sync, UnarchiveConversation, UnmuteConversation, Unreact, UploadUrl,
};
use ackscope_protocol::{ConversationId, Timestamp};
use serde_json::{Value, json};

use super::ask::{self, Ask};
use super::cell::{Caller, Cell, Expected, Whose};
use super::scene::{Prep, REACTION, Scene, SceneSpec, emoji};
use super::stage::{MEMBER, NEWCOMER, OTHER_ADMIN, Stage, limits};
use super::table::Act;

// The limits as S1 has them, written down once more: were they taken from the protocol's table, a limit that was
// changed there would be found right.
/// Characters of a text.
const TEXT_MAX_CHARS: usize = 4_096;
/// Characters of a `temp_id`.
const TEMP_ID_MAX_CHARS: usize = 64;
/// Characters of a `user_id`.
const USER_ID_MAX_CHARS: usize = 64;
/// Characters of a title.
const TITLE_MAX_CHARS: usize = 200;
/// Media items of a message.
const MEDIA_MAX_ITEMS: usize = 10;
/// Bytes of the largest file the media service takes.
const FILE_MAX_BYTES: u64 = 25 * 1_024 * 1_024;
/// Others in one `conversation:create`.
const OTHERS_MAX: usize = 1_000;
/// People in a conversation.
const PEOPLE_MAX: usize = 1_001;
/// Messages of a page, and of what a search gives.
const HISTORY_PAGE_MAX: u32 = 100;
/// Conversations of a page.
const CONVERSATION_PAGE_MAX: u32 = 100;
/// Different emoji on a message.
const EMOJI_MAX: usize = 50;
/// Earlier texts of a message.
const EDITS_MAX: usize = 200;

/// Every boundary that has no moment of its own.
pub fn cells() -> Vec<Cell> {
    let groups = [
        texts(),
        temp_ids(),
        replies(),
        edits(),
        gone_messages(),
        reactions(),
        forwards(),
        media(),
        histories(),
        creations(),
        lists(),
        people(),
        leaving(),
        settings(),
        searches(),
        syncs(),
        payloads(),
        strangers(),
    ];
    groups.into_iter().flatten().collect()
}

fn ok() -> Expected {
    Expected::Ok
}

fn ok_and(seen: &str) -> Expected {
    Expected::OkAnd(seen.to_owned())
}

fn naming(field: &str) -> Expected {
    Expected::Naming(field.to_owned())
}

/// `1 character`, `2 characters`.
fn count(number: impl Into<u64>, one: &str) -> String {
    let number = number.into();
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", thousands(number))
}

/// `4096` as `4,096`.
fn thousands(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1_000), number % 1_000) }
}

fn anothers() -> SceneSpec {
    SceneSpec::member().message(Whose::Anothers)
}

fn own() -> SceneSpec {
    SceneSpec::member().message(Whose::Own)
}

fn texts() -> Vec<Cell> {
    let mut cells = Vec::new();
    let long = TEXT_MAX_CHARS as u64;
    for (chars, expected) in [(0, naming("text")), (1, ok()), (long, ok()), (long + 1, naming("text"))] {
        let what = format!("text of {}", count(chars, "character"));
        let text = "x".repeat(chars as usize);
        let again = text.clone();
        cells.push(Cell::boundary(SendMessage::EVENT, &what, expected.clone(), SceneSpec::member(), move |scene| {
            ask::send(scene.conversation_id).with("text", text.clone())
        }));
        cells.push(Cell::boundary(EditMessage::EVENT, &what, expected, own(), move |scene| {
            ask::edit(scene.message()).with("text", again.clone())
        }));
    }
    let wide = "😀".repeat(TEXT_MAX_CHARS);
    let what = format!("text of {} of four bytes", count(long, "character"));
    cells.push(Cell::boundary(SendMessage::EVENT, &what, ok(), SceneSpec::member(), move |scene| {
        ask::send(scene.conversation_id).with("text", wide.clone())
    }));
    cells.push(Cell::boundary(
        SendMessage::EVENT,
        "neither text nor media",
        Expected::Refused(InvalidPayload),
        SceneSpec::member(),
        |scene| ask::send(scene.conversation_id).without("text"),
    ));
    cells
}

fn temp_ids() -> Vec<Cell> {
    let mut cells = Vec::new();
    let long = TEMP_ID_MAX_CHARS;
    for (chars, expected) in [(0, naming("temp_id")), (1, ok()), (long, ok()), (long + 1, naming("temp_id"))] {
        let what = format!("temp_id of {}", count(chars as u64, "character"));
        let temp_id = "t".repeat(chars);
        let again = temp_id.clone();
        cells.push(Cell::boundary(SendMessage::EVENT, &what, expected.clone(), SceneSpec::member(), move |scene| {
            ask::send(scene.conversation_id).with("temp_id", temp_id.clone())
        }));
        let scene = anothers().and(Prep::Targets(1));
        cells.push(Cell::boundary(ForwardMessages::EVENT, &what, expected, scene, move |scene| {
            ask::forward(&[scene.message()], &scene.targets).with("temp_id", again.clone())
        }));
    }
    let of_scene = |scene: &Scene| ask::send(scene.conversation_id).with("temp_id", scene.word.as_str());
    let again = Cell::boundary(
        SendMessage::EVENT,
        "again with the same temp_id",
        ok_and("the same message"),
        SceneSpec::member(),
        of_scene,
    );
    cells.push(again.looking(move |stage, scene, data| {
        Box::pin(async move {
            let again = stage.must(&scene.caller, &of_scene(scene).with("text", "another text")).await?;
            let is_same = again["message_id"] == data["message_id"];
            Ok(if is_same { "the same message" } else { "another message" }.to_owned())
        })
    }));
    cells
}

fn replies() -> Vec<Cell> {
    let reply = |what: &str, expected, scene, to: fn(&Scene) -> MessageRef| {
        Cell::boundary(SendMessage::EVENT, what, expected, scene, move |scene| {
            ask::send(scene.conversation_id).with("reply_to", to(scene).message_id.to_string())
        })
    };
    vec![
        reply("reply to an unknown message", Expected::Refused(NotFound), SceneSpec::member(), Scene::no_message),
        reply(
            "reply to a message of another conversation",
            Expected::Refused(NotFound),
            SceneSpec::member().and(Prep::Sources(1)),
            Scene::source,
        ),
        reply(
            "reply to a tombstone",
            Expected::Refused(AlreadyDeleted),
            anothers().and(Prep::Tombstone),
            Scene::message,
        ),
        reply("reply to a gone message", Expected::Refused(AlreadyDeleted), anothers().and(Prep::Gone), Scene::message),
        reply(
            "reply to a hidden message",
            Expected::Refused(AlreadyDeleted),
            anothers().and(Prep::Hidden),
            Scene::message,
        ),
        reply("reply to its own message", ok(), own(), Scene::message),
    ]
}

fn edits() -> Vec<Cell> {
    let edit = |what: &str, expected, scene| {
        Cell::boundary(EditMessage::EVENT, what, expected, scene, |scene| ask::edit(scene.message()))
    };
    vec![
        edit(&format!("after {} earlier texts", EDITS_MAX - 1), ok(), own().and(Prep::Edits(EDITS_MAX - 1))),
        edit(
            &format!("after {EDITS_MAX} earlier texts"),
            Expected::Refused(TooLarge),
            own().and(Prep::Edits(EDITS_MAX)),
        ),
        Cell::boundary(EditMessage::EVENT, "the same text as now", ok_and("0 edits"), own(), |scene| {
            ask::edit(scene.message()).with("text", format!("hello {}", scene.word))
        })
        .saying(|_, data| format!("{} edits", data["message"]["edits"].as_array().map_or(0, Vec::len)))
        .leaving_the_same(),
        Cell::boundary(EditMessage::EVENT, "another text", ok_and("1 edit"), own(), |scene| ask::edit(scene.message()))
            .saying(|_, data| count(data["message"]["edits"].as_array().map_or(0, Vec::len) as u64, "edit")),
    ]
}

/// A message that is a tombstone, gone, or hidden: for each event that touches a message.
fn gone_messages() -> Vec<Cell> {
    type OfMessage = fn(MessageRef) -> Ask;
    let soft: OfMessage = |message| ask::delete(message, "soft");
    let hard: OfMessage = |message| ask::delete(message, "hard");
    let for_me: OfMessage = |message| ask::delete(message, "for_me");
    let react: OfMessage = |message| ask::react(message, REACTION);
    let unreact: OfMessage = |message| ask::unreact(message, REACTION);
    let deleted = || Expected::Refused(AlreadyDeleted);
    let mut cells = Vec::new();
    // Each event with what comes of it on a tombstone, on a gone message and on a hidden one.
    for (event, manner, ask, on_tombstone) in [
        (EditMessage::EVENT, "", ask::edit as OfMessage, deleted()),
        (DeleteMessage::EVENT, "soft ", soft, deleted()),
        (DeleteMessage::EVENT, "hard ", hard, ok()),
        (DeleteMessage::EVENT, "for_me ", for_me, ok()),
        (React::EVENT, "", react, deleted()),
        (Unreact::EVENT, "", unreact, deleted()),
    ] {
        let of_own = |what: &str, expected, prep| {
            let what = format!("{manner}{what}");
            Cell::boundary(event, &what, expected, own().and(prep), move |scene| ask(scene.message()))
        };
        cells.push(of_own("on a tombstone", on_tombstone, Prep::Tombstone));
        cells.push(of_own("on a gone message", deleted(), Prep::Gone));
        cells.push(of_own("on a message the caller hid", deleted(), Prep::Hidden));
        let what = format!("{manner}on a message another hid");
        let scene = own().and(Prep::HiddenByAnother);
        let hidden_by_another = Cell::boundary(event, &what, ok(), scene, move |scene| ask(scene.message()));
        // There is no reaction to be taken back.
        cells.push(if event == Unreact::EVENT { hidden_by_another.leaving_the_same() } else { hidden_by_another });
        let what = format!("{manner}on an unknown message");
        cells.push(Cell::boundary(event, &what, Expected::Refused(NotFound), SceneSpec::member(), move |scene| {
            ask(scene.no_message())
        }));
        let what = format!("{manner}on a message of another conversation");
        let scene = SceneSpec::member().and(Prep::Sources(1));
        cells.push(Cell::boundary(event, &what, Expected::Refused(NotFound), scene, move |scene| {
            ask(MessageRef { message_id: scene.source().message_id, ..scene.no_message() })
        }));
    }
    // What is deleted is deleted, whoever's it was.
    cells.push(Cell::boundary(
        EditMessage::EVENT,
        "on another's tombstone",
        deleted(),
        anothers().and(Prep::Tombstone),
        |scene| ask::edit(scene.message()),
    ));
    cells
}

fn reactions() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (what, emoji, is_one) in [
        ("no grapheme", "", false),
        ("one grapheme", "👍", true),
        ("two graphemes", "👍👎", false),
        ("a letter", "a", true),
        ("two letters", "ab", false),
        ("a family joined by ZWJ", "👨‍👩‍👧‍👦", true),
        ("a flag", "🇩🇪", true),
        ("two flags", "🇩🇪🇫🇷", false),
        ("a combining sequence", "e\u{301}", true),
        ("a skin tone", "👍🏽", true),
        ("a keycap", "1\u{FE0F}\u{20E3}", true),
    ] {
        let expected = if is_one { ok() } else { naming("emoji") };
        cells.push(Cell::boundary(React::EVENT, what, expected.clone(), anothers(), move |scene| {
            ask::react(scene.message(), emoji)
        }));
        // Nobody reacted with it.
        let unreact = move |scene: &Scene| ask::unreact(scene.message(), emoji);
        cells.push(Cell::boundary(Unreact::EVENT, what, expected, anothers(), unreact).leaving_the_same());
    }
    let next = emoji().nth(EMOJI_MAX).unwrap_or_default();
    for (there, expected) in [(EMOJI_MAX - 1, ok()), (EMOJI_MAX, Expected::Refused(TooLarge))] {
        let what = format!("one more after {there} different emoji");
        let next = next.clone();
        let scene = anothers().and(Prep::Reactions(there));
        cells.push(Cell::boundary(React::EVENT, &what, expected, scene, move |scene| {
            ask::react(scene.message(), &next)
        }));
    }
    let users =
        |_: &Scene, data: &Value| count(data["reactions"][REACTION].as_array().map_or(0, Vec::len) as u64, "user");
    let with_reaction = || anothers().and(Prep::Reaction);
    cells.extend([
        Cell::boundary(React::EVENT, "with the same emoji again", ok_and("1 user"), with_reaction(), |scene| {
            ask::react(scene.message(), REACTION)
        })
        .saying(users)
        .leaving_the_same(),
        Cell::boundary(Unreact::EVENT, "of an emoji that is there", ok_and("0 users"), with_reaction(), |scene| {
            ask::unreact(scene.message(), REACTION)
        })
        .saying(users),
        Cell::boundary(
            React::EVENT,
            "with one that is there after 50 different emoji",
            ok(),
            anothers().and(Prep::Reactions(EMOJI_MAX)),
            |scene| ask::react(scene.message(), &emoji().next().unwrap_or_default()),
        ),
    ]);
    cells
}

/// A forward with a `temp_id` of the scene's, so that the same one can be asked for again.
fn once(scene: &Scene) -> Ask {
    ask::forward(&scene.sources, &scene.targets).with("temp_id", scene.word.as_str())
}

fn forwards() -> Vec<Cell> {
    let forward = |what: &str, expected, scene, ask: fn(&Scene) -> Ask| {
        Cell::boundary(ForwardMessages::EVENT, what, expected, scene, ask)
    };
    let all = |scene: &Scene| ask::forward(&scene.sources, &scene.targets);
    let this = |scene: &Scene| ask::forward(&[scene.message()], &scene.targets);
    let many = |messages, targets| SceneSpec::member().and(Prep::Sources(messages)).and(Prep::Targets(targets));
    let one_bad = |prep| anothers().and(Prep::Targets(4)).and(prep);
    let copies = |_: &Scene, data: &Value| {
        let number = data["forwarded"].as_array().map_or(0, Vec::len) as u64;
        if number == 1 { "1 copy".to_owned() } else { format!("{number} copies") }
    };
    vec![
        forward("0 messages", Expected::Refused(InvalidPayload), many(0, 1), all),
        forward("0 targets", Expected::Refused(InvalidPayload), many(1, 0), all),
        forward("5 targets", ok_and("5 copies"), many(1, 5), all).saying(copies),
        forward("6 targets", Expected::Refused(TooManyTargets), many(1, 6), all),
        forward("10 messages", ok_and("10 copies"), many(10, 1), all).saying(copies),
        forward("11 messages", Expected::Refused(TooManyMessages), many(11, 1), all),
        forward("10 messages to 5 targets", ok_and("50 copies"), many(10, 5), all).saying(copies),
        forward("11 messages to 6 targets", Expected::Refused(TooManyMessages), many(11, 6), all),
        forward("the same message twice", ok_and("1 copy"), many(1, 1), |scene| {
            ask::forward(&[scene.source(), scene.source()], &scene.targets)
        })
        .saying(copies),
        forward("the same target 6 times", Expected::Refused(TooManyTargets), many(1, 1), |scene| {
            ask::forward(&scene.sources, &[scene.targets[0]; 6])
        }),
        forward("into its own conversation", ok_and("1 copy"), anothers(), |scene| {
            ask::forward(&[scene.message()], &[scene.conversation_id])
        })
        .saying(copies),
        forward("one of 5 targets is a stranger's", Expected::Refused(NotFound), one_bad(Prep::ForeignTarget), this),
        forward("one of 5 targets is lost", Expected::Refused(NotParticipant), one_bad(Prep::LostTarget), this),
        forward(
            "one of 5 targets is another's channel",
            Expected::Refused(RoleForbidden),
            one_bad(Prep::ChannelTarget),
            this,
        ),
        forward("one of 2 targets does not exist", Expected::Refused(NotFound), many(1, 1), |scene| {
            ask::forward(&scene.sources, &[scene.targets[0], Scene::no_conversation()])
        }),
        forward("one of 2 messages is unknown", Expected::Refused(NotFound), many(1, 1), |scene| {
            ask::forward(&[scene.source(), scene.no_message()], &scene.targets)
        }),
        forward("a message named in another conversation", Expected::Refused(NotFound), many(1, 1), |scene| {
            let wrong = MessageRef { message_id: scene.source().message_id, ..scene.no_message() };
            ask::forward(&[wrong], &scene.targets)
        }),
        forward(
            "a tombstone",
            Expected::Refused(AlreadyDeleted),
            anothers().and(Prep::Tombstone).and(Prep::Targets(1)),
            this,
        ),
        forward(
            "a gone message",
            Expected::Refused(AlreadyDeleted),
            anothers().and(Prep::Gone).and(Prep::Targets(1)),
            this,
        ),
        forward(
            "a message the caller hid",
            Expected::Refused(AlreadyDeleted),
            anothers().and(Prep::Hidden).and(Prep::Targets(1)),
            this,
        ),
        forward("a message another hid", ok(), own().and(Prep::HiddenByAnother).and(Prep::Targets(1)), this),
        forward("again with the same temp_id", ok_and("the same copy"), many(1, 1), once).looking(
            |stage, scene, data| {
                Box::pin(async move {
                    let again = stage.must(&scene.caller, &once(scene)).await?;
                    let is_same = again["forwarded"] == data["forwarded"];
                    Ok(if is_same { "the same copy" } else { "another copy" }.to_owned())
                })
            },
        ),
    ]
}

fn media() -> Vec<Cell> {
    let with_media = |what: &str, expected, scene| {
        Cell::boundary(SendMessage::EVENT, what, expected, scene, |scene| {
            ask::send(scene.conversation_id).with("media", json!(scene.media))
        })
    };
    let uploads = |number| SceneSpec::member().and(Prep::Uploads(number));
    let mut cells = vec![
        with_media(&format!("{MEDIA_MAX_ITEMS} media items"), ok(), uploads(MEDIA_MAX_ITEMS)),
        with_media(&format!("{} media items", MEDIA_MAX_ITEMS + 1), naming("media"), uploads(MEDIA_MAX_ITEMS + 1)),
        with_media("media of another's", Expected::Refused(MediaInvalid), SceneSpec::member().and(Prep::ForeignUpload)),
        with_media(
            "media whose bytes never came",
            Expected::Refused(MediaInvalid),
            SceneSpec::member().and(Prep::UnfinishedUpload),
        ),
        Cell::boundary(
            SendMessage::EVENT,
            "unknown media",
            Expected::Refused(MediaInvalid),
            SceneSpec::member(),
            |scene| ask::send(scene.conversation_id).with("media", json!([scene.picture()])),
        ),
        Cell::boundary(SendMessage::EVENT, "media without text", ok(), uploads(1), |scene| {
            ask::send(scene.conversation_id).without("text").with("media", json!(scene.media))
        }),
        Cell::boundary(
            DownloadUrl::EVENT,
            "an unknown item",
            Expected::Refused(NotFound),
            SceneSpec::member(),
            |scene| ask::download_url(scene.picture()),
        ),
        Cell::boundary(
            DownloadUrl::EVENT,
            "another's picture that is in no message",
            Expected::Refused(NotFound),
            SceneSpec::member().and(Prep::ForeignUpload),
            |scene| ask::download_url(scene.picture()),
        ),
    ];
    for (what, prep) in
        [("a tombstone", Prep::Tombstone), ("a gone message", Prep::Gone), ("a message the caller hid", Prep::Hidden)]
    {
        let what = format!("another's picture in {what}");
        let scene = anothers().and(Prep::Picture).and(prep);
        cells.push(Cell::boundary(DownloadUrl::EVENT, &what, Expected::Refused(NotFound), scene, |scene| {
            ask::download_url(scene.picture())
        }));
    }
    for (bytes, expected) in [
        (0, Expected::Refused(MediaInvalid)),
        (1, ok()),
        (FILE_MAX_BYTES, ok()),
        (FILE_MAX_BYTES + 1, Expected::Refused(MediaInvalid)),
    ] {
        let what = format!("a file of {}", count(bytes, "byte"));
        let upload = move |_: &Scene| ask::upload_url(bytes);
        cells.push(Cell::boundary(UploadUrl::EVENT, &what, expected, SceneSpec::member(), upload).leaving_nothing());
    }
    cells.push(Cell::boundary(
        UploadUrl::EVENT,
        "a type that is not allowed",
        Expected::Refused(MediaInvalid),
        SceneSpec::member(),
        |_| ask::upload_url(8).with("content_type", "application/x-msdownload"),
    ));
    cells
}

/// 0, 1, the most and one more, for an event with a `limit`.
fn page_limits(event: &'static str, most: u32, ask: fn(&Scene) -> Ask) -> Vec<Cell> {
    let limits = [(0, naming("limit")), (1, ok()), (most, ok()), (most + 1, naming("limit"))];
    let of_limit = |(limit, expected): (u32, Expected)| {
        let limited = move |scene: &Scene| ask(scene).with("limit", limit);
        Cell::boundary(event, &format!("limit {limit}"), expected, anothers(), limited).leaving_nothing()
    };
    limits.into_iter().map(of_limit).collect()
}

fn histories() -> Vec<Cell> {
    let mut cells = page_limits(History::EVENT, HISTORY_PAGE_MAX, |scene| ask::history(scene.conversation_id));
    let shown = |scene: &Scene, data: &Value| {
        let messages = data["messages"].as_array().cloned().unwrap_or_default();
        let id = scene.message().message_id.to_string();
        match messages.iter().find(|message| message["message_id"] == *id) {
            None => "absent",
            Some(message) if message["deleted"].is_object() && message["text"].is_null() => "a tombstone",
            Some(message) if message["deleted"].is_null() => "there",
            Some(_) => "deleted, and its text is there",
        }
        .to_owned()
    };
    for (what, seen, scene) in [
        ("a message", "there", anothers()),
        ("a tombstone", "a tombstone", anothers().and(Prep::Tombstone)),
        ("a gone message", "absent", anothers().and(Prep::Gone)),
        ("a message the caller hid", "absent", anothers().and(Prep::Hidden)),
        ("a message another hid", "there", own().and(Prep::HiddenByAnother)),
    ] {
        let history = |scene: &Scene| ask::history(scene.conversation_id);
        cells.push(Cell::boundary(History::EVENT, what, ok_and(seen), scene, history).saying(shown).leaving_nothing());
    }
    let messages = |_: &Scene, data: &Value| count(data["messages"].as_array().map_or(0, Vec::len) as u64, "message");
    cells.push(
        Cell::boundary(History::EVENT, "the thread of an unknown root", ok_and("0 messages"), anothers(), |scene| {
            ask::history(scene.conversation_id).with("thread", scene.no_message().message_id.to_string())
        })
        .saying(messages)
        .leaving_nothing(),
    );
    cells.push(Cell::boundary(History::EVENT, "a cursor that is none", naming("cursor"), anothers(), |scene| {
        ask::history(scene.conversation_id).with("cursor", "nowhere")
    }));
    cells
}

fn creations() -> Vec<Cell> {
    let group = |what: &str, expected, change: fn(Ask) -> Ask| {
        Cell::boundary(CreateConversation::EVENT, what, expected, SceneSpec::member(), move |scene| {
            change(ask::create(ConversationKind::Group, &[scene.observer.user_id().clone()]))
        })
    };
    let named = |number: usize| (0..number).map(|number| format!("filler-{number}")).collect::<Vec<_>>();
    let mut cells = vec![
        group("of no kind there is", naming("kind"), |ask| ask.with("kind", "secret")),
        group("with no title", ok(), |ask| ask),
    ];
    for (chars, expected) in
        [(0, naming("title")), (1, ok()), (TITLE_MAX_CHARS, ok()), (TITLE_MAX_CHARS + 1, naming("title"))]
    {
        let what = format!("title of {}", count(chars as u64, "character"));
        let title = "t".repeat(chars);
        cells.push(Cell::boundary(CreateConversation::EVENT, &what, expected, SceneSpec::member(), move |_| {
            ask::create(ConversationKind::Group, &[]).with("title", title.clone())
        }));
    }
    for (others, expected) in [(OTHERS_MAX, ok()), (OTHERS_MAX + 1, naming("participants"))] {
        let what = format!("{} others", thousands(others as u64));
        let people = named(others);
        cells.push(Cell::boundary(CreateConversation::EVENT, &what, expected, SceneSpec::member(), move |_| {
            ask::create(ConversationKind::Group, &[]).with("participants", people.clone())
        }));
    }
    for (what, others) in
        [("nobody", json!([])), ("itself", json!([MEMBER])), ("two others", json!(["filler-1", "filler-2"]))]
    {
        let what = format!("direct with {what}");
        let expected = naming("participants");
        cells.push(Cell::boundary(CreateConversation::EVENT, &what, expected, SceneSpec::member(), move |_| {
            ask::create(ConversationKind::Direct, &[]).with("participants", others.clone())
        }));
    }
    for (chars, is_id) in [(1, true), (USER_ID_MAX_CHARS, true), (USER_ID_MAX_CHARS + 1, false)] {
        let what = format!("user_id of {}", count(chars as u64, "character"));
        let user = "u".repeat(chars);
        let again = user.clone();
        let expected = |field: &str| if is_id { ok() } else { naming(field) };
        cells.push(Cell::boundary(
            CreateConversation::EVENT,
            &what,
            expected("participants"),
            SceneSpec::member(),
            move |_| ask::create(ConversationKind::Group, &[]).with("participants", json!([user])),
        ));
        cells.push(Cell::boundary(
            AddParticipant::EVENT,
            &what,
            expected("user_id"),
            SceneSpec::owner(),
            move |scene| {
                let nobody = scene.caller.user_id();
                ask::add(scene.conversation_id, nobody, "member").with("user_id", again.clone())
            },
        ));
    }
    let is_same = |scene: &Scene, data: &Value| {
        let is_same = data["conversation"]["conversation_id"] == *scene.conversation_id.to_string();
        if is_same { "the same one" } else { "another one" }.to_owned()
    };
    let direct = || SceneSpec::new(ConversationKind::Direct, Caller::Member);
    cells.extend([
        Cell::boundary(
            CreateConversation::EVENT,
            "a direct that is there",
            ok_and("the same one"),
            direct(),
            |scene| ask::create(ConversationKind::Direct, &[scene.observer.user_id().clone()]),
        )
        .saying(is_same)
        .leaving_nothing(),
        Cell::boundary(
            CreateConversation::EVENT,
            "a direct that is there, from the other side",
            ok_and("the same one"),
            direct(),
            // Answered to the member; the other one asks in the look.
            |scene| ask::create(ConversationKind::Direct, &[scene.observer.user_id().clone()]),
        )
        .looking(move |stage, scene, _| {
            Box::pin(async move {
                let ask = ask::create(ConversationKind::Direct, &[scene.caller.user_id().clone()]);
                let data = stage.must(&scene.observer, &ask).await?;
                Ok(is_same(scene, &data))
            })
        })
        .leaving_nothing(),
    ]);
    cells
}

fn lists() -> Vec<Cell> {
    let mut cells = page_limits(ListConversations::EVENT, CONVERSATION_PAGE_MAX, |_| ask::list());
    // The caller is in many conversations, so that the pages are followed to the end.
    for (what, caller, prep, archived, seen) in [
        ("one it is in", Caller::Member, None, false, "listed"),
        ("one it was removed from", Caller::Removed, None, false, "not listed"),
        ("one it was never in", Caller::Stranger, None, false, "not listed"),
        ("one it archived", Caller::Member, Some(Prep::Archived), false, "not listed"),
        ("an archived one among the archived", Caller::Member, Some(Prep::Archived), true, "listed"),
        ("one it did not archive among the archived", Caller::Member, None, true, "not listed"),
    ] {
        let mut scene = SceneSpec::new(ConversationKind::Group, caller);
        scene.preps.extend(prep);
        let list = move |_: &Scene| ask::list().with("archived", archived);
        let cell = Cell::boundary(ListConversations::EVENT, what, ok_and(seen), scene, list);
        cells.push(cell.leaving_nothing().looking(move |stage, scene, _| {
            Box::pin(async move {
                let found = listed(stage, scene, archived).await?.is_some();
                Ok(if found { "listed" } else { "not listed" }.to_owned())
            })
        }));
    }
    cells.push(Cell::boundary(
        ListConversations::EVENT,
        "a cursor that is none",
        naming("cursor"),
        SceneSpec::member(),
        |_| ask::list().with("cursor", "nowhere"),
    ));
    cells
}

/// The scene's conversation in the caller's list, on whichever page it is.
pub async fn listed(stage: &Stage, scene: &Scene, archived: bool) -> Result<Option<Value>, super::stage::Failure> {
    let id = scene.conversation_id.to_string();
    let mut cursor = Value::Null;
    loop {
        let mut ask = ask::list().with("archived", archived).with("limit", CONVERSATION_PAGE_MAX);
        if !cursor.is_null() {
            ask = ask.with("cursor", cursor);
        }
        let data = stage.must(&scene.caller, &ask).await?;
        let page = data["conversations"].as_array().cloned().unwrap_or_default();
        if let Some(found) = page.into_iter().find(|conversation| conversation["conversation_id"] == *id) {
            return Ok(Some(found));
        }
        cursor = data["next_cursor"].clone();
        if cursor.is_null() {
            return Ok(None);
        }
    }
}

fn people() -> Vec<Cell> {
    let named = |name: &str, scene: &Scene| name.parse().unwrap_or_else(|_| scene.caller.user_id().clone());
    let add = move |scene: &Scene| ask::add(scene.conversation_id, &named(NEWCOMER, scene), "member");
    // The owner and the observer are in it already.
    let crowd = |all: usize| SceneSpec::owner().and(Prep::People(all - 2));
    let role_of_newcomer = |_: &Scene, data: &Value| {
        let people = data["conversation"]["participants"].as_array().cloned().unwrap_or_default();
        let role = people.iter().find(|entry| entry["user_id"] == NEWCOMER).map(|entry| entry["role"].clone());
        role.as_ref().and_then(Value::as_str).unwrap_or("not in it").to_owned()
    };
    vec![
        Cell::boundary(
            AddParticipant::EVENT,
            &format!("one more than {}", count((PEOPLE_MAX - 1) as u64, "person").replace("persons", "people")),
            ok(),
            crowd(PEOPLE_MAX - 1),
            add,
        ),
        Cell::boundary(
            AddParticipant::EVENT,
            &format!("one more than {}", count(PEOPLE_MAX as u64, "person").replace("persons", "people")),
            Expected::Refused(TooLarge),
            crowd(PEOPLE_MAX),
            add,
        ),
        Cell::boundary(AddParticipant::EVENT, "one who is in it", ok(), SceneSpec::owner(), |scene| {
            ask::add(scene.conversation_id, scene.observer.user_id(), "member")
        })
        .leaving_nothing(),
        Cell::boundary(AddParticipant::EVENT, "without a role", ok_and("member"), SceneSpec::owner(), move |scene| {
            add(scene).without("role")
        })
        .saying(role_of_newcomer),
        Cell::boundary(
            AddParticipant::EVENT,
            "as admin by an admin",
            ok_and("admin"),
            SceneSpec::new(ConversationKind::Group, Caller::Admin),
            move |scene| add(scene).with("role", "admin"),
        )
        .saying(role_of_newcomer),
        Cell::boundary(AddParticipant::EVENT, "as owner", naming("role"), SceneSpec::owner(), move |scene| {
            add(scene).with("role", "owner")
        }),
        Cell::boundary(
            AddParticipant::EVENT,
            "one who left, and comes to the end of the list",
            ok_and("last, not muted, not archived"),
            SceneSpec::owner(),
            |scene| ask::remove(scene.conversation_id, scene.observer.user_id()),
        )
        .looking(|stage, scene, _| Box::pin(comes_back(stage, scene))),
        Cell::boundary(
            RemoveParticipant::EVENT,
            "one who was removed before",
            Expected::Refused(NotFound),
            SceneSpec::owner().and(Prep::Alone),
            |scene| ask::remove(scene.conversation_id, scene.observer.user_id()),
        ),
        Cell::boundary(
            RemoveParticipant::EVENT,
            "another admin, by an admin",
            Expected::Refused(RoleForbidden),
            SceneSpec::new(ConversationKind::Group, Caller::Admin).and(Prep::OtherAdmin),
            move |scene| ask::remove(scene.conversation_id, &named(OTHER_ADMIN, scene)),
        ),
        Cell::boundary(
            RemoveParticipant::EVENT,
            "and what it sends then",
            ok_and("not_participant"),
            SceneSpec::owner(),
            |scene| ask::remove(scene.conversation_id, scene.observer.user_id()),
        )
        .looking(|stage, scene, _| {
            Box::pin(async move {
                let outcome = stage.ask(&scene.observer, &ask::send(scene.conversation_id)).await?;
                Ok(outcome.map_or_else(|error| error.code.to_string(), |_| "ok".to_owned()))
            })
        }),
    ]
}

/// Mutes and archives for somebody who was removed and comes back: nothing of it may be left.
async fn comes_back(stage: &Stage, scene: &Scene) -> Result<String, super::stage::Failure> {
    let observer = &scene.observer;
    let here = scene.conversation_id;
    let newcomer = stage.user(NEWCOMER).await?;
    stage.must(&scene.caller, &ask::add(here, newcomer.user_id(), "member")).await?;
    stage.must(&scene.caller, &ask::add(here, observer.user_id(), "member")).await?;
    stage.must(observer, &ask::mute(here)).await?;
    stage.must(observer, &ask::archive(here)).await?;
    stage.must(&scene.caller, &ask::remove(here, observer.user_id())).await?;
    let data = stage.must(&scene.caller, &ask::add(here, observer.user_id(), "member")).await?;
    let people = data["conversation"]["participants"].as_array().cloned().unwrap_or_default();
    let place = if people.last().is_some_and(|last| last["user_id"] == *observer.user_id().as_str()) {
        "last"
    } else {
        "not last"
    };
    // What it asks for is so already, so the answer shows its settings and nothing changes.
    let data = stage.must(observer, &ask::unarchive(here)).await?;
    let settings = &data["conversation"]["settings"];
    let muted = if settings["muted_until"].is_null() { "not muted" } else { "muted" };
    let archived = if settings["archived"] == false { "not archived" } else { "archived" };
    Ok(format!("{place}, {muted}, {archived}"))
}

fn leaving() -> Vec<Cell> {
    let owner_then = |what: &str, seen: &'static str, scene: SceneSpec| {
        let leave = |scene: &Scene| ask::leave(scene.conversation_id);
        Cell::boundary(LeaveConversation::EVENT, what, ok_and(seen), scene, leave).looking(|stage, scene, _| {
            Box::pin(async move {
                // Asked by the observer for what is so already, so that nothing changes.
                let data = stage.must(&scene.observer, &ask::unarchive(scene.conversation_id)).await?;
                let people = data["conversation"]["participants"].as_array().cloned().unwrap_or_default();
                let owners: Vec<&str> = people
                    .iter()
                    .filter(|entry| entry["role"] == "owner")
                    .filter_map(|entry| entry["user_id"].as_str())
                    .collect();
                Ok(format!("{} owns it", owners.join(" and ")))
            })
        })
    };
    let leave = |scene: &Scene| ask::leave(scene.conversation_id);
    vec![
        owner_then("the owner, before an admin", "anne owns it", SceneSpec::owner().and(Prep::OtherAdmin)),
        owner_then("the owner, before members", "otto owns it", SceneSpec::owner().and(Prep::People(2))),
        owner_then("a member", "olga owns it", SceneSpec::member()),
        Cell::boundary(LeaveConversation::EVENT, "the last one", ok(), SceneSpec::owner().and(Prep::Alone), leave),
        Cell::boundary(
            LeaveConversation::EVENT,
            "twice",
            Expected::Refused(NotParticipant),
            SceneSpec::new(ConversationKind::Group, Caller::Removed),
            leave,
        ),
        Cell::boundary(
            LeaveConversation::EVENT,
            "one who came back",
            ok(),
            SceneSpec::member().and(Prep::CameBack),
            leave,
        ),
    ]
}

fn settings() -> Vec<Cell> {
    let until = |_: &Scene, data: &Value| {
        match data["conversation"]["settings"]["muted_until"].as_str() {
            None => "not muted",
            Some(until) if until.parse() == Result::Ok(Timestamp::MAX) => "for good",
            Some(_) => "for a while",
        }
        .to_owned()
    };
    let mute = |what: &str, expected, duration: Value| {
        Cell::boundary(MuteConversation::EVENT, what, expected, SceneSpec::member(), move |scene| match &duration {
            Value::Null => ask::mute(scene.conversation_id),
            duration => ask::mute(scene.conversation_id).with("duration_secs", duration.clone()),
        })
        .saying(until)
    };
    let here = |ask: fn(ConversationId) -> Ask| move |scene: &Scene| ask(scene.conversation_id);
    vec![
        mute("for 0 seconds", naming("duration_secs"), json!(0)),
        mute("for 1 second", ok_and("for a while"), json!(1)),
        mute("for less than nothing", naming("duration_secs"), json!(-1)),
        mute("for longer than time", ok_and("for good"), json!(u64::MAX)),
        mute("without a duration", ok_and("for good"), Value::Null),
        Cell::boundary(
            UnmuteConversation::EVENT,
            "what is not muted",
            ok_and("not muted"),
            SceneSpec::member(),
            here(ask::unmute),
        )
        .saying(until)
        .leaving_nothing(),
        Cell::boundary(
            UnmuteConversation::EVENT,
            "what is muted",
            ok_and("not muted"),
            SceneSpec::member().and(Prep::Muted),
            here(ask::unmute),
        )
        .saying(until),
        Cell::boundary(
            "conversation:archive",
            "what is archived",
            ok(),
            SceneSpec::member().and(Prep::Archived),
            here(ask::archive),
        )
        .leaving_nothing(),
        Cell::boundary(
            UnarchiveConversation::EVENT,
            "what is not archived",
            ok(),
            SceneSpec::member(),
            here(ask::unarchive),
        )
        .leaving_nothing(),
    ]
}

fn searches() -> Vec<Cell> {
    let mut cells = page_limits(SearchQuery::EVENT, HISTORY_PAGE_MAX, |scene| ask::search(&scene.word));
    let found = |scene: &Scene, data: &Value| {
        let id = scene.message().message_id.to_string();
        let messages = data["messages"].as_array().cloned().unwrap_or_default();
        let is_found = messages.iter().any(|message| message["message_id"] == *id);
        if is_found { "found" } else { "not found" }.to_owned()
    };
    let anywhere = |caller| SceneSpec::new(ConversationKind::Group, caller).message(Whose::Anothers);
    for (what, seen, scene) in [
        ("a message", "found", anywhere(Caller::Member)),
        ("a message of a conversation it was removed from", "not found", anywhere(Caller::Removed)),
        ("a message of a conversation it was never in", "not found", anywhere(Caller::Stranger)),
        ("a tombstone", "not found", anothers().and(Prep::Tombstone)),
        ("a gone message", "not found", anothers().and(Prep::Gone)),
        ("a message the caller hid", "not found", anothers().and(Prep::Hidden)),
        ("a message another hid", "found", own().and(Prep::HiddenByAnother)),
        ("the text before an edit", "not found", anothers().and(Prep::Edits(1))),
    ] {
        let search = |scene: &Scene| ask::search(&scene.word);
        cells.push(
            Cell::boundary(SearchQuery::EVENT, what, ok_and(seen), scene, search).saying(found).leaving_nothing(),
        );
    }
    cells
}

fn syncs() -> Vec<Cell> {
    vec![
        Cell::boundary(Sync::EVENT, "from now", ok(), SceneSpec::member(), |_| ask::sync()).leaving_nothing(),
        Cell::boundary(Sync::EVENT, "a cursor that is none", naming("cursor"), SceneSpec::member(), |_| {
            ask::sync().with("cursor", "nowhere")
        }),
    ]
}

fn payloads() -> Vec<Cell> {
    let padded = |bytes: usize| {
        move |scene: &Scene| {
            // What is measured is the packet's JSON: the array of the name and the payload. Unknown fields are
            // ignored, so one of them fills it up.
            let ask = ask::history(scene.conversation_id).with("padding", "");
            let packet = json!([ask.event, ask.payload]).to_string();
            ask.with("padding", "p".repeat(bytes.saturating_sub(packet.len())))
        }
    };
    let max = limits().payload_max_bytes;
    let mut cells = Vec::new();
    for (bytes, expected) in [(max - 1, ok()), (max, ok()), (max + 1, Expected::Refused(TooLarge))] {
        let what = format!("a payload of {}", count(bytes as u64, "byte"));
        cells.push(
            Cell::boundary(History::EVENT, &what, expected, SceneSpec::member(), padded(bytes)).leaving_nothing(),
        );
    }
    for (what, event) in [
        ("no such event", "message:sing"),
        ("the name in other letters", "Message:Send"),
        ("a server event", "message:new"),
        ("an empty name", ""),
    ] {
        let ask = move |scene: &Scene| Ask { event: event.to_owned(), ..ask::send(scene.conversation_id) };
        let cell =
            Cell::boundary(SendMessage::EVENT, what, Expected::Refused(InvalidPayload), SceneSpec::member(), ask);
        cells.push(Cell { name: format!("unknown event / {what}"), ..cell });
    }
    cells
}

/// What the look at a refusal says when it is the one for a conversation that does not exist.
const AS_OF_NOTHING: &str = "as if it did not exist";

/// A stranger hears of a conversation exactly what is said of one that does not exist (S1.4).
fn strangers() -> Vec<Cell> {
    let of_act = |act: Act| {
        let scene = act.scene(ConversationKind::Group, Caller::Stranger, Some(Whose::Anothers));
        let expected = Expected::RefusedAnd(NotFound, AS_OF_NOTHING.to_owned());
        let what = format!("{} / a stranger hears nothing", act.label());
        let cell = Cell::boundary(act.event(), &what, expected, scene, move |scene| act.ask(scene));
        Cell { name: what, ..cell }.looking(move |stage, scene, said| {
            Box::pin(async move {
                let unknown = Scene::no_conversation().to_string();
                let real = act.ask(scene);
                let ask = if act == Act::ForwardFrom {
                    let message = MessageRef { conversation_id: Scene::no_conversation(), ..scene.message() };
                    ask::forward(&[message], &scene.targets)
                } else {
                    real.with("conversation_id", unknown)
                };
                let of_unknown = match stage.ask(&scene.caller, &ask).await? {
                    Result::Ok(_) => Value::Null,
                    Err(error) => serde_json::to_value(error).unwrap_or_default(),
                };
                let is_same = of_unknown == *said;
                Result::Ok(if is_same { AS_OF_NOTHING } else { "in other words" }.to_owned())
            })
        })
    };
    Act::ALL.into_iter().filter(|act| !matches!(act, Act::ForwardInto | Act::DownloadUrl)).map(of_act).collect()
}

/// The boundaries in business time. They are played one after the other, each when its moment has come.
pub fn timed_cells() -> Vec<Cell> {
    const WINDOW_MS: i64 = 15 * 60 * 1_000;
    const CACHED_MS: i64 = 60 * 60 * 1_000;
    const SECOND_MS: i64 = 1_000;
    let after = |by_ms: i64| move |scene: &Scene| scene.message_at.as_millis() + by_ms;
    let closed = || Expected::Refused(ackscope_protocol::ErrorCode::EditWindowClosed);
    let edit = |what: &str, expected, scene| {
        Cell::boundary(EditMessage::EVENT, what, expected, scene, |scene| ask::edit(scene.message()))
    };
    let of_message = |event, what: &str, ask: fn(&Scene) -> Ask| Cell::boundary(event, what, ok(), own(), ask);
    let mut cells = vec![
        edit("at 14:59", ok(), own()).from(after(WINDOW_MS - SECOND_MS)),
        edit("up to 15:00", ok(), own()).just_before(after(WINDOW_MS)),
        edit("one millisecond past 15:00", closed(), own()).from(after(WINDOW_MS + 1)),
        edit("at 15:01", closed(), own()).from(after(WINDOW_MS + SECOND_MS)),
        edit("another's at 15:01", Expected::Refused(NotOwner), anothers()).from(after(WINDOW_MS + SECOND_MS)),
        edit("a tombstone at 15:01", Expected::Refused(AlreadyDeleted), own().and(Prep::Tombstone))
            .from(after(WINDOW_MS + SECOND_MS)),
        of_message(DeleteMessage::EVENT, "soft at 15:01", |scene| ask::delete(scene.message(), "soft"))
            .from(after(WINDOW_MS + SECOND_MS)),
        of_message(React::EVENT, "at 15:01", |scene| ask::react(scene.message(), REACTION))
            .from(after(WINDOW_MS + SECOND_MS)),
    ];
    let muted = |what: &str, seen| {
        Cell::boundary(MuteConversation::EVENT, what, ok_and(seen), SceneSpec::member().and(Prep::Muted), |_| {
            ask::list()
        })
        .leaving_nothing()
        .looking(|stage, scene, _| {
            Box::pin(async move {
                let conversation = listed(stage, scene, false).await?.unwrap_or_default();
                let is_muted = conversation["settings"]["muted_until"].is_string();
                Ok(if is_muted { "muted" } else { "not muted" }.to_owned())
            })
        })
    };
    cells.push(muted("until just before its end", "muted").just_before(|scene| scene.muted_until.as_millis() - 1));
    cells.push(muted("at its end", "not muted").from(|scene| scene.muted_until.as_millis()));
    let cached = |what: &str, seen| {
        let scene = SceneSpec::member().and(Prep::Cached);
        Cell::boundary(SendMessage::EVENT, what, ok_and(seen), scene, |scene| ask::send(scene.conversation_id))
            .looking(|stage, _, data| Box::pin(permission_source(stage, data.clone())))
    };
    cells.push(
        cached("permission at 59:59 after the cache was filled", "from the cache")
            .from(|scene| scene.filled_ms.0 + CACHED_MS - SECOND_MS),
    );
    cells.push(
        cached("permission at 60:01 after the cache was filled", "from the store")
            .from(|scene| scene.filled_ms.1 + CACHED_MS + SECOND_MS),
    );
    cells
}

/// Where the permission of a message that was sent came from, as the trace tells.
async fn permission_source(stage: &Stage, sent: Value) -> Result<String, super::stage::Failure> {
    use ackscope_protocol::trace::{Happening, PermissionSource, Stage as TraceStage};
    let recorder = stage.world().recorder();
    recorder.flush().await;
    let of_message = |happening: &Happening| match happening {
        Happening::Stage { message_id, stage: TraceStage::Permission { source, .. } }
            if sent["message_id"] == *message_id.to_string() =>
        {
            Some(*source)
        }
        _ => None,
    };
    let source = recorder.snapshot().events.iter().find_map(|event| of_message(&event.what));
    Ok(match source {
        Some(PermissionSource::Cache) => "from the cache",
        Some(PermissionSource::Store) => "from the store",
        None => "from nowhere the trace tells",
    }
    .to_owned())
}
