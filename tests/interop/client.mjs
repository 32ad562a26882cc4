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
