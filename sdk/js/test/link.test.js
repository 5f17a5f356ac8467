// The connection against a server that is played here, byte by byte: what is hard to bring about with a real one.
// SPDX-License-Identifier: Apache-2.0
import { test as run } from 'node:test';
import assert from 'node:assert/strict';
import { Kith, memoryStore } from '../node.js';

const jwt = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;

const turn = (ms = 0) => new Promise((done) => setTimeout(done, ms));
async function until(what, ms = 20_000) {
  for (const end = Date.now() + ms; ; await turn(5)) {
    try { return what(); } catch (e) { if (Date.now() > end) throw e; }
  }
}
const text = (s) => { const b = [...new TextEncoder().encode(s)]; return [b.length >> 8, b.length & 255, ...b]; };
const packet = (first, ...body) => { const b = body.flat(); return Uint8Array.from([first, ...(b.length > 127 ? [(b.length % 128) | 128, b.length >> 7] : [b.length]), ...b]); };
const connack = ({ present = 0, reason = 0, properties = [] } = {}) => packet(0x20, present, reason, properties.length, properties);
const published = (id, topic, item) => packet(0x32, text(topic), id >> 8, id & 255, 0, [...new TextEncoder().encode(JSON.stringify(item))]);

/** Servers: each connection is given to `script(socket)`; socket.said has the packets that came: [type, bytes]. */
function played(script) {
  const sockets = [];
  class Played {
    readyState = 0; said = [];
    constructor(url) {
      this.url = url;
      sockets.push(this);
      queueMicrotask(() => { if (this.readyState === 0) { this.readyState = 1; this.onopen?.({}); } });
    }
    send(bytes) {
      const type = bytes[0] >> 4;
      this.said.push([type, [...bytes]]);
      queueMicrotask(() => script(this, type, bytes));
    }
    tell(...packets) { for (const p of packets) this.onmessage?.({ data: p.buffer.slice(p.byteOffset, p.byteOffset + p.length) }); }
    close() { this.readyState = 3; }
    of(type) { return this.said.filter(([t]) => t === type).map(([, b]) => b); }
  }
  return { sockets, WebSocket: Played };
}
const suback = (bytes) => packet(0x90, bytes[2], bytes[3], 0, 1, 0, 0);
const packetOf = (publish) => { const topic = publish[2] & 128 ? 3 : 2, at = topic + 2 + publish[topic] * 256 + publish[topic + 1]; return [publish[at], publish[at + 1]]; };
const make = (server, more) => made[made.push(new Kith({ url: 'http://k.example', token: 'x', user: 'ann', device: 'd', transport: 'mqtt', WebSocket: server.WebSocket, store: memoryStore(), reconnect: { base: 5, max: 20 }, timeout: 200, ...more })) - 1];

/** However a test ends, the clients that it made end with it: one that goes on keeps the process, and nobody hears why. */
const made = [];
const test = (name, acts) => run(name, { timeout: 60_000 }, () => acts().finally(() => Promise.all(made.splice(0).map((kith) => kith.close().catch(() => {})))));

test('at most as much is under way as the server allows; the rest follows', async () => {
  const server = played((s, type, bytes) => {
    if (type === 1) s.tell(connack({ properties: [0x21, 0, 3] }));
    if (type === 8) s.tell(suback(bytes));
  });
  const kith = make(server);
  await kith.connect();
  const [s] = server.sockets, sent = Array.from({ length: 8 }, (_, i) => kith.send(`c${i}`, 'x'));
  await until(() => assert.equal(s.of(3).length, 3));
  await turn(30);
  assert.equal(s.of(3).length, 3, 'the receive maximum');
  for (let i = 0; i < 8; i++) {
    s.tell(packet(0x40, packetOf(s.of(3)[i])));
    await until(() => assert.equal(s.of(3).length, Math.min(8, i + 4)));
  }
  await Promise.all(sent.map((m) => kith.stored({ ...m, state: 'stored' })));
  assert.deepEqual(kith.outbox(), []);
  await kith.close();
  assert.deepEqual(s.of(14).map((b) => b[0]), [0xe0], 'it says that it goes');
});

test('silence is asked after, and ends the connection; the next one has the session', async () => {
  const server = played((s, type, bytes) => {
    if (type === 1) s.tell(connack({ present: server.sockets.length > 1 ? 1 : 0, properties: [0x13, 0, 1] })); // server keep alive: 1 s
    if (type === 8) s.tell(suback(bytes));
    if (type === 12 && server.sockets.length > 1) s.tell(Uint8Array.from([0xd0, 0]));
  });
  const kith = make(server), states = [];
  kith.on('state', (s) => states.push(s));
  await kith.connect();
  await until(() => assert.equal(server.sockets.length, 2));
  assert.equal(server.sockets[0].of(12).length, 1, 'one PINGREQ without an answer');
  await until(() => assert.ok(server.sockets[1].of(12).length >= 2));
  assert.equal(server.sockets.length, 2, 'the answered one stays');
  assert.deepEqual(states.map((s) => [s.state, s.resumed, s.error?.code]).filter(([s]) => s !== 'connecting'), [['online', false, undefined], ['offline', undefined, 'timeout'], ['online', true, undefined]]);
  await kith.close();
});

test('sent elsewhere, it goes there; from there back', async () => {
  const server = played((s, type, bytes) => {
    const there = s.url.includes('other');
    if (type === 1) s.tell(there || server.sockets.length > 2 ? connack() : connack({ reason: 0x9c, properties: [0x1c, ...text('other.example:9000')] }));
    if (type === 8) s.tell(suback(bytes));
  });
  const kith = make(server);
  await kith.connect();
  assert.deepEqual(server.sockets.map((s) => s.url), ['ws://k.example/mqtt', 'ws://other.example:9000/mqtt']);
  server.sockets[1].tell(packet(0xe0, 0x8b, 0));
  await until(() => assert.equal(server.sockets[2]?.url, 'ws://k.example/mqtt'));
  await kith.close();
});

test('what is not MQTT ends the connection with 0x81, and harms nobody', async () => {
  const server = played((s, type, bytes) => {
    if (type === 1) s.tell(connack());
    if (type === 8) s.tell(suback(bytes));
  });
  const kith = make(server);
  await kith.connect();
  server.sockets[0].tell(Uint8Array.from([0xf0, 0]));
  await until(() => assert.equal(kith.state === 'online' && server.sockets.length, 2));
  assert.deepEqual(server.sockets[0].of(14).map((b) => b[2]), [0x81]);
  await kith.close();
});

/** A server with ann's session in it, for who has nothing to say but entries. */
const listening = () => played((s, type, bytes) => {
  if (type === 1) s.tell(connack({ present: 1 }));
  if (type === 8) s.tell(suback(bytes));
});
const entry = (n) => published(n, 'users/ann/messages', { id: `m${n}`, conversation: 'c', seq: n, from: 'bob', created_at: '2026-01-01T00:00:00.000Z', body: 'x', cursor: `e-${n}`, event: 'created' });

test('an entry is shown once, and acknowledged when its handlers are done', async () => {
  const server = listening(), kith = make(server), shown = [], hold = [];
  kith.on('message', ({ message }) => { shown.push(message.id); return message.id === 'm2' ? new Promise((done) => hold.push(done)) : undefined; });
  await kith.connect();
  const [s] = server.sockets;
  s.tell(entry(1), entry(2), entry(3));
  const held = () => assert.deepEqual([shown, s.of(4).map((b) => b[3])], [['m1', 'm2'], [1]], 'the second one holds the third');
  await until(held);
  await turn(20);
  held();
  hold[0]();
  await until(() => assert.deepEqual([shown, s.of(4).map((b) => b[3])], [['m1', 'm2', 'm3'], [1, 2, 3]]));
  s.onclose({});
  await until(() => assert.equal(kith.state === 'online' && server.sockets.length, 2));
  server.sockets[1].tell(entry(2), entry(3), entry(4));
  await until(() => assert.deepEqual([shown, server.sockets[1].of(4).map((b) => b[3])], [['m1', 'm2', 'm3', 'm4'], [2, 3, 4]], 'acknowledged again, not shown again'));
  await kith.close();
});

test('entries() gives one after the other; asking for the next acknowledges', async () => {
  const server = listening(), kith = make(server), seen = [];
  const reading = (async () => { for await (const e of kith.entries()) { seen.push(e.message.id); if (seen.length === 3) break; await turn(10); } })();
  await kith.connect();
  const [s] = server.sockets;
  s.tell(entry(1), entry(2), entry(3), entry(4));
  await until(() => assert.deepEqual(seen, ['m1']));
  assert.equal(s.of(4).length, 0);
  await reading;
  assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  await until(() => assert.deepEqual(s.of(4).map((b) => b[3]), [1, 2, 3, 4], 'who has left holds nothing'));
  await kith.close();
});

test('who is online is said again and again, answered, and missed when silent', async () => {
  const server = listening(), kith = make(server, { presence: { every: 40 } }), heard = [];
  kith.on('presence', (p) => heard.push(p));
  await kith.connect();
  const [s] = server.sockets, bob = (online) => s.tell(packet(0x30, text('users/bob/presence'), 0, [...new TextEncoder().encode(JSON.stringify({ online }))]));
  bob(true);
  bob(true);
  await until(() => assert.ok(s.of(3).length >= 4, 'a heartbeat'));
  await until(() => assert.deepEqual(heard, [{ user: 'bob', online: true }, { user: 'bob', online: false }], 'silence'));
  bob(true);
  bob(false);
  assert.deepEqual(heard.slice(2), [{ user: 'bob', online: true }, { user: 'bob', online: false }]);
  await kith.close();
  assert.match(Buffer.from(s.of(3).at(-1)).toString(), /users\/ann\/presence.*"online":false/);
});

test('a clock that is a day ahead does not ask for token after token; while a link is renewed nothing of it is used', async () => {
  const claims = (o) => `e30.${Buffer.from(JSON.stringify(o)).toString('base64url')}.x`, day = 86_400, now = Math.floor(Date.now() / 1000);
  let asked = 0;
  const server = played((s, type, bytes) => {
    if (type === 1 && !s.mute) s.tell(connack());
    if (type === 8) s.tell(suback(bytes));
  });
  const kith = make(server, { token: () => { asked++; return claims({ sub: 'ann', iat: now - day, exp: now - day + 3600 }); } });
  await kith.connect();
  await turn(100);
  assert.deepEqual([asked, server.sockets.length], [1, 1]);
  await kith.close();

  const soon = make(server, { token: () => ({ token: 'x', expires_at: new Date(Date.now() + 100).toISOString() }) });
  await soon.connect();
  for (const end = Date.now() + 20_000; Date.now() < end && server.sockets.length <= 3; await turn(1)) {
    soon.presence(true);
    soon.typing('c');
  }
  assert.ok(server.sockets.length > 3, 'the link was renewed');
  await soon.close();
});

test('two servers that send it to and fro are not asked without end', async () => {
  const server = played((s, type) => { if (type === 1) s.tell(connack({ reason: 0x9c, properties: [0x1c, ...text('other.example')] })); });
  const kith = make(server, { reconnect: { base: 10_000, max: 10_000 } });
  kith.connect().catch(() => {});
  await turn(100);
  assert.ok(server.sockets.length <= 3, `${server.sockets.length} connections`);
  await kith.close();
});

test('a message that no MQTT packet takes goes by HTTP, which refuses it alone; one that no JSON says fails at once', async () => {
  const server = listening(), asked = [];
  const fetch = async (url, o) => { asked.push([url, o.body.length > 100_000]); return new Response('{"type":"/problems/too-large","title":"Too large"}', { status: 413 }); };
  const kith = make(server, { fetch });
  await kith.connect();
  await assert.rejects(kith.stored(kith.send('c', 'x'.repeat(120_000))), { code: 'too-large', status: 413 });
  await assert.rejects(kith.stored(kith.send('c', 'x'.repeat(1_200_000))), { code: 'too-large' });
  assert.deepEqual(asked, [['http://k.example/v1/conversations/c/messages', true]]);
  assert.throws(() => kith.send('c', { data: 1n }), TypeError);
  assert.equal(kith.state, 'online');
  await kith.close();
});

test('a tab that was duplicated becomes a device of its own; where the tokens say which it is, it yields', async () => {
  for (const fixed of [false, true]) {
    const server = played((s, type, bytes) => {
      if (type === 1) s.tell(connack());
      if (type === 8) { s.tell(suback(bytes)); if (server.sockets.length < 3) setTimeout(() => s.tell(packet(0xe0, 0x8e, 0)), 5); }
    });
    const asked = [];
    const kith = make(server, { device: undefined, user: undefined, token: ({ device }) => { asked.push(device); return jwt({ sub: 'ann', dev: fixed ? 'tv' : device }); } });
    await kith.connect();
    if (fixed) {
      await until(() => assert.equal(kith.state, 'closed'));
      assert.deepEqual([server.sockets.length, kith.device], [1, 'tv']);
    } else {
      await until(() => assert.equal(server.sockets.length === 3 && kith.state, 'online'));
      assert.equal(new Set(asked).size, 3);
      assert.equal(kith.user, 'ann');
    }
    await kith.close();
  }
});

test('a browser that keeps nothing sends all the same', async () => {
  const server = played((s, type, bytes) => {
    if (type === 1) s.tell(connack());
    if (type === 8) s.tell(suback(bytes));
    if (type === 3) s.tell(packet(0x40, packetOf([...bytes])));
  }), errors = [];
  globalThis.indexedDB = { open() { const r = {}; queueMicrotask(() => { r.error = new Error('not here'); r.onerror(); }); return r; } };
  try {
    const kith = make(server, { store: undefined });
    kith.on('error', (e) => errors.push(e.detail));
    await kith.connect();
    assert.equal((await kith.stored(kith.send('c', 'x'))).state, 'stored');
    assert.deepEqual(errors, ['not here']);
    await kith.close();
  } finally {
    delete globalThis.indexedDB;
  }
});

test('a token that cannot be a device\'s is told so, at once', async () => {
  const server = listening();
  for (const [token, words] of [['kith_0123456789ab_secret', /server key/], [jwt({}), /names no user/]]) {
    const kith = make(server, { token, user: undefined });
    await assert.rejects(kith.connect(), { code: 'unfit-token', message: words });
    assert.equal(kith.state, 'closed');
  }
  assert.equal(server.sockets.length, 0);
});
