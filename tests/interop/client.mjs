// The official client, used as its documentation shows it. Arguments: URL, a token for ana, a token for ben, and
// how to connect: websocket, polling or upgrade. Prints one line for each thing that held and ends with 0; the
// first thing that does not hold ends it with 1 and a sentence.
import { io } from "socket.io-client";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

const [url, anaToken, benToken, mode] = process.argv.slice(2);
const transports = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] }[mode];
assert.ok(transports, `unknown mode ${mode}`);
const LIMIT_MS = 10_000;

const watchdog = setTimeout(() => {
  console.error(`not done after ${LIMIT_MS * 3} ms`);
  process.exit(1);
}, LIMIT_MS * 3);

function connect(token) {
  return io(`${url}/chat`, { auth: { token }, transports, forceNew: true, reconnection: false });
}

function once(emitter, event, what, holds = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${what} after ${LIMIT_MS} ms`)), LIMIT_MS);
    function listener(value) {
      if (!holds(value)) return;
      clearTimeout(timer);
      emitter.off(event, listener);
      resolve(value);
    }
    emitter.on(event, listener);
  });
}

async function connected(socket, name) {
  const refused = (error) => {
    console.error(`${name} is refused: ${error.message}`);
    process.exit(1);
  };
  socket.once("connect_error", refused);
  await once(socket, "connect", `connection of ${name}`);
  socket.off("connect_error", refused);
}

// A token that does not hold is refused with connect_error.
for (const bad of [undefined, "", "not.a.token", { $ne: null }]) {
  const refused = connect(bad);
  const error = await once(refused, "connect_error", "refusal");
  assert.match(error.message, /unauthenticated/);
  refused.close();
}
console.log("refuses what is not a token");

const ana = connect(anaToken);
const ben = connect(benToken);
await Promise.all([connected(ana, "ana"), connected(ben, "ben")]);
if (mode === "upgrade") {
  for (const socket of [ana, ben]) {
    if (socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade", "upgrade");
  }
}
assert.equal(ana.io.engine.transport.name, mode === "polling" ? "polling" : "websocket");
console.log(`connects over ${ana.io.engine.transport.name}`);

const told = once(ben, "conversation:updated", "conversation:updated for ben", (e) => e.conversation.title === mode);
const created = await ana.timeout(LIMIT_MS).emitWithAck("conversation:create", { kind: "group", participants: ["ben"], title: mode });
assert.equal(created.ok, true, JSON.stringify(created));
const { conversation_id } = created.data.conversation;
assert.equal((await told).conversation.conversation_id, conversation_id);
console.log("creates a conversation that both know");

// Both names of the event, text that needs escaping and more than one byte a character.
for (const event of ["message:send", "sendMessage"]) {
  const temp_id = randomUUID();
  const text = `"Grüße" \\ \n 👩‍👩‍👧 <b> ${event}`;
  const states = [];
  const follow = (ack) => ack.temp_id === temp_id && states.push(ack.state);
  ana.on("message:ack", follow);
  const seen = once(ben, "message:new", "message:new for ben", (e) => e.message.text === text);
  const persisted = once(ana, "message:ack", "persisted", (ack) => ack.temp_id === temp_id && ack.state === "persisted");
  const answer = await ana.timeout(LIMIT_MS).emitWithAck(event, { conversation_id, temp_id, text });
  assert.equal(answer.ok, true, JSON.stringify(answer));
  const { message } = await seen;
  assert.equal(message.message_id, answer.data.message_id);
  assert.equal(message.temp_id, undefined, "a temp_id is its sender's own");
  await persisted;
  ana.off("message:ack", follow);
  assert.deepEqual(states, ["pending", "delivered", "persisted"]);
  const again = await ana.timeout(LIMIT_MS).emitWithAck(event, { conversation_id, temp_id, text });
  assert.equal(again.data.message_id, answer.data.message_id);
}
console.log("sends under both names, is acknowledged in order, and sending again is safe");

const history = await ben.timeout(LIMIT_MS).emitWithAck("message:history", { conversation_id });
assert.deepEqual(history.data.messages.map((m) => m.sender_id), ["ana", "ana"]);
const list = await ben.timeout(LIMIT_MS).emitWithAck("conversation:list", {});
assert.ok(list.data.conversations.some((c) => c.conversation_id === conversation_id));
console.log("reads history and conversations");

const refused = await ben.timeout(LIMIT_MS).emitWithAck("message:history", { conversation_id: "nonsense" });
assert.equal(refused.ok, false);
assert.equal(refused.error.code, "invalid_payload");
assert.match(refused.error.message, /conversation_id/);
const nowhere = await ben.timeout(LIMIT_MS).emitWithAck("message:history", { conversation_id: randomUUID() });
assert.equal(nowhere.error.code, "not_found");
console.log("gets typed errors");

// Everything that happens to a message afterwards, in the very shapes of the wire.
async function ask(socket, event, payload) {
  const answer = await socket.timeout(LIMIT_MS).emitWithAck(event, payload);
  assert.equal(answer.ok, true, `${event}: ${JSON.stringify(answer)}`);
  return answer.data;
}
const { message_id } = await ask(ana, "message:send", { conversation_id, temp_id: "later", text: "first" });
const of_message = { conversation_id, message_id };
const about = (value) => (value.message ?? value).message_id === message_id;

const edited = once(ben, "message:edited", "message:edited", about);
const edit = await ask(ana, "message:edit", { ...of_message, text: "second" });
assert.deepEqual(edit.message.edits.map((e) => e.text), ["first"]);
assert.equal((await edited).message.text, "second");

const reacted = once(ana, "message:reaction", "message:reaction", about);
assert.deepEqual((await ask(ben, "message:react", { ...of_message, emoji: "👩‍👩‍👧" })).reactions, { "👩‍👩‍👧": ["ben"] });
assert.deepEqual(await reacted, { ...of_message, reactions: { "👩‍👩‍👧": ["ben"] } });
assert.deepEqual((await ask(ben, "message:unreact", { ...of_message, emoji: "👩‍👩‍👧" })).reactions, {});

const copied = once(ben, "message:new", "the copy", (e) => e.message.forwarded_from?.message_id === message_id);
const { forwarded } = await ask(ana, "message:forward", { messages: [of_message], targets: [conversation_id], temp_id: "copy" });
assert.deepEqual(forwarded, [{ message_id: forwarded[0].message_id, conversation_id, origin: of_message }]);
assert.equal((await copied).message.message_id, forwarded[0].message_id);
console.log("edits, reacts and forwards");

for (const [who, mode, hears] of [[ben, "for_me", ben], [ana, "soft", ana], [ana, "hard", ana]]) {
  const deleted = once(hears, "message:deleted", `message:deleted ${mode}`, (e) => about(e) && e.mode === mode);
  assert.deepEqual(await ask(who, "message:delete", { ...of_message, mode }), {});
  assert.deepEqual(await deleted, { ...of_message, mode });
}
const gone = await ana.timeout(LIMIT_MS).emitWithAck("message:edit", { ...of_message, text: "third" });
assert.deepEqual([gone.error.code, gone.error.retryable], ["already_deleted", false]);
console.log("deletes in every way");

for (const [event, payload, change, hears] of [
  ["conversation:add_participant", { user_id: "cleo", role: "admin" }, "participant_added", ben],
  ["conversation:remove_participant", { user_id: "cleo" }, "participant_removed", ben],
  ["conversation:mute", { duration_secs: 60 }, "settings_changed", ana],
  ["conversation:unmute", {}, "settings_changed", ana],
  ["conversation:archive", {}, "settings_changed", ana],
  ["conversation:unarchive", {}, "settings_changed", ana],
]) {
  const updated = once(hears, "conversation:updated", `conversation:updated after ${event}`, (e) => e.change === change);
  const { conversation } = await ask(ana, event, { conversation_id, ...payload });
  assert.equal((await updated).conversation.version, conversation.version);
  if (event === "conversation:mute") assert.match(conversation.settings.muted_until, /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/);
  if (event === "conversation:archive") assert.equal(conversation.settings.archived, true);
}
console.log("changes conversations");

// One pixel, put and got as the browser would.
const pixel = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const place = await ask(ana, "media:upload_url", { file_name: "dot.png", content_type: "image/png", size_bytes: pixel.length });
const put = await fetch(place.url, { method: "PUT", body: pixel, headers: { "content-type": "image/png" } });
assert.ok(put.ok, `upload: ${put.status}`);
const pictured = once(ben, "message:new", "the picture", (e) => e.message.media.length === 1);
await ask(ana, "message:send", { conversation_id, temp_id: "picture", text: "a pixel to find", media: [place.media_id] });
assert.deepEqual((await pictured).message.media, [{ media_id: place.media_id, media_state: "verified" }]);
const { url: download } = await ask(ben, "media:download_url", { media_id: place.media_id });
assert.deepEqual(Buffer.from(await (await fetch(download)).arrayBuffer()), pixel);
for (const deadline = Date.now() + LIMIT_MS; ; ) {
  const { messages } = await ask(ben, "search:query", { text: "pixel", conversation_id });
  if (messages.length === 1) break;
  assert.ok(Date.now() < deadline, "the message is not found");
  // Indexing is asynchronous: ask again, within the rate of a connection.
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log("uploads, sends, downloads and finds a picture");

const { data: { cursor } } = await ben.timeout(LIMIT_MS).emitWithAck("sync", {});
ben.disconnect();
await ana.timeout(LIMIT_MS).emitWithAck("message:send", { conversation_id, temp_id: "missed", text: "while ben was away" });
const back = connect(benToken);
await connected(back, "ben again");
const missed = await back.timeout(LIMIT_MS).emitWithAck("sync", { cursor });
assert.ok(missed.data.events.some((e) => e.event === "message:new" && e.data.message.text === "while ben was away"));
console.log("syncs what it missed");

back.close();
ana.close();
clearTimeout(watchdog);
