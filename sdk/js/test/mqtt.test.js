// The codec: what it writes is read back by a reader written here from the standard; what comes, however it is cut, is read
// or refused; random bytes, and packets with random faults, never do more than throw MalformedPacket. SPDX-License-Identifier: Apache-2.0
import test from 'node:test';
import assert from 'node:assert/strict';
import { Decoder, encode, MalformedPacket, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBLISH, SUBACK } from '../src/mqtt.js';

/** A generator with a seed (mulberry32): a failure can be had again. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const bytes = (...list) => Uint8Array.from(list.flat());
const text = (s) => { const b = [...new TextEncoder().encode(s)]; return [b.length >> 8, b.length & 255, ...b]; };
const size = (n) => { const out = []; do { out.push((n % 128) | (n > 127 ? 128 : 0)); n = Math.floor(n / 128); } while (n); return out; };
const packet = (first, ...body) => { const b = body.flat(); return bytes(first, size(b.length), b); };
const all = (chunk) => new Decoder().push(chunk);

test('CONNECT is as 3.1 draws it', () => {
  const got = encode.connect({ clientId: 'd1', user: 'ann', password: 'jwt', keepAlive: 60, properties: { sessionExpiry: 3600, receiveMaximum: 128 } });
  assert.deepEqual([...got], [...packet(0x10, text('MQTT'), 5, 0xc0, 0, 60, size(8), 0x11, 0, 0, 14, 16, 0x21, 0, 128, text('d1'), text('ann'), text('jwt'))]);
});

test('PUBLISH, SUBSCRIBE, PUBACK, PINGREQ, DISCONNECT are as 3.3 to 3.14 draw them', () => {
  assert.deepEqual([...encode.publish({ topic: 'a/b', payload: 'hi', qos: 1, packet: 513 })], [...packet(0x32, text('a/b'), 2, 1, 0, 104, 105)]);
  assert.deepEqual([...encode.publish({ topic: 'a', payload: new Uint8Array([1]) })], [...packet(0x30, text('a'), 0, 1)]);
  assert.deepEqual([...encode.publish({ topic: 'a', payload: '', qos: 1, dup: true, packet: 7 })], [...packet(0x3a, text('a'), 0, 7, 0)]);
  assert.deepEqual([...encode.subscribe(9, [['users/ann/#', 1], ['x', 0]])], [...packet(0x82, 0, 9, 0, text('users/ann/#'), 1, text('x'), 0)]);
  assert.deepEqual([...encode.puback(258)], [0x40, 2, 1, 2]);
  assert.deepEqual([...encode.puback(258, 0x80)], [0x40, 3, 1, 2, 0x80]);
  assert.deepEqual([...encode.pingreq()], [0xc0, 0]);
  assert.deepEqual([...encode.disconnect()], [0xe0, 0]);
  assert.deepEqual([...encode.disconnect(4)], [0xe0, 2, 4, 0]);
  assert.throws(() => encode.publish({ topic: 'x'.repeat(65536), payload: '' }), RangeError);
});

test('a packet as large as kith takes, whose length takes three bytes', () => {
  const payload = new Uint8Array(200_000).fill(7), got = encode.publish({ topic: 't', payload, qos: 1, packet: 1 });
  assert.deepEqual([...got.subarray(0, 4)], [0x32, ...size(payload.length + 6)]);
  const [p] = all(got);
  assert.deepEqual([p.topic, p.payload.length, p.payload.every((b) => b === 7)], ['t', 200_000, true]);
});

const SAID = [
  [packet(0x20, 1, 0, size(11), 0x13, 0, 30, 0x21, 2, 0, 0x27, 0, 4, 0, 0), { type: CONNACK, present: true, reason: 0, properties: { serverKeepAlive: 30, receiveMaximum: 512, maximumPacketSize: 262144 } }],
  [packet(0x20, 0, 0x9c, size(text('b:1').length + 1), 0x1c, text('b:1')), { type: CONNACK, present: false, reason: 0x9c, properties: { serverReference: 'b:1' } }],
  [packet(0x3a, text('users/ann/messages'), 0, 5, 2, 0x0b, 3, 123, 125), { type: PUBLISH, topic: 'users/ann/messages', qos: 1, packet: 5, dup: true, retain: false, properties: { subscriptionIds: [3] }, payload: bytes(123, 125) }],
  [packet(0x30, text('é/😀'), 0), { type: PUBLISH, topic: 'é/😀', qos: 0, packet: 0, dup: false, retain: false, properties: {}, payload: bytes() }],
  [packet(0x40, 0, 5), { type: PUBACK, packet: 5, reason: 0, properties: {} }],
  [packet(0x40, 0, 5, 0x87, size(text('no').length + 1 + text('k').length * 2 + 1), 0x1f, text('no'), 0x26, text('k'), text('k')), { type: PUBACK, packet: 5, reason: 0x87, properties: { reasonString: 'no', userProperties: [['k', 'k']] } }],
  [packet(0x90, 0, 6, 0, 1, 0x87), { type: SUBACK, packet: 6, properties: {}, reasons: [1, 0x87] }],
  [bytes(0xd0, 0), { type: PINGRESP }],
  [packet(0xe0, 0x8b), { type: DISCONNECT, reason: 0x8b, properties: {} }],
  [bytes(0xe0, 0), { type: DISCONNECT, reason: 0, properties: {} }],
];

test('what the server says is read', () => {
  for (const [raw, want] of SAID) assert.deepEqual(all(raw), [want]);
});

test('however it is cut', () => {
  const whole = bytes(...SAID.map(([raw]) => [...raw])), want = SAID.map(([, p]) => p), r = random(1);
  for (let round = 0; round < 300; round++) {
    const d = new Decoder(), got = [];
    for (let at = 0, n; at < whole.length; at += n) got.push(...d.push(whole.subarray(at, at + (n = 1 + Math.floor(r() * (round % 40 + 1))))));
    assert.deepEqual(got, want);
  }
});

test('what is not MQTT is refused', () => {
  const wrong = {
    'a length of five bytes': bytes(0x30, 0x80, 0x80, 0x80, 0x80, 1), 'a packet beyond the most': bytes(0x30, size(256 * 1024 + 1)), 'QoS 3': packet(0x36, text('a'), 0, 1, 0),
    'packet id 0': packet(0x32, text('a'), 0, 0, 0), 'no such type': packet(0xf0), 'a client\'s packet': packet(0x82, 0, 1, 0, text('a'), 1), 'reserved flags': packet(0x41, 0, 1),
    'a topic that goes beyond': packet(0x30, 0, 9, 97), 'no UTF-8': packet(0x30, 0, 1, 0xff, 0), 'properties that go beyond': packet(0x30, text('a'), 9, 1), 'an unknown property': packet(0x30, text('a'), 2, 0x7f, 1),
    'a property twice': packet(0x20, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1), 'more than its fields': packet(0x40, 0, 1, 0, 0, 9), 'an empty PUBACK': packet(0x40), 'a property cut short': packet(0x20, 0, 0, 2, 0x21, 0),
  };
  for (const [what, raw] of Object.entries(wrong)) assert.throws(() => all(raw), MalformedPacket, what);
});

test('random bytes, and packets with faults in them, are read or refused, and nothing else', () => {
  const r = random(2);
  let read = 0, refused = 0;
  for (let i = 0; i < 60_000; i++) {
    const from = SAID[i % SAID.length][0];
    const raw = i % 3 ? from.slice() : Uint8Array.from({ length: Math.floor(r() * 40) }, () => r() * 256);
    for (let n = Math.floor(r() * 3) + 1; i % 3 && n; n--) raw[Math.floor(r() * raw.length)] = r() * 256;
    try {
      for (const p of all(raw)) { read++; assert.ok(p.type && (p.payload?.length ?? 0) <= raw.length); }
    } catch (e) {
      assert.ok(e instanceof MalformedPacket, `${e.stack}\n${raw}`);
      refused++;
    }
  }
  assert.ok(read > 1000 && refused > 1000, `${read} read, ${refused} refused`);
});

test('what is written is read again, with whatever topic, payload and packet id', () => {
  const r = random(3), word = () => String.fromCodePoint(...Array.from({ length: 1 + Math.floor(r() * 30) }, () => [97 + r() * 26, 0xe0 + r() * 32, 0x1f600 + r() * 50][Math.floor(r() * 3)] | 0));
  for (let i = 0; i < 2000; i++) {
    const m = { topic: word(), payload: Uint8Array.from({ length: r() ** 4 * 5000 }, () => r() * 256), qos: i % 2, packet: i % 2 ? 1 + Math.floor(r() * 65535) : 0, dup: Boolean(i & 2), properties: i & 4 ? { subscriptionIds: [1, 300], contentType: word(), messageExpiry: 4e9 } : {} };
    assert.deepEqual(all(encode.publish(m)), [{ type: PUBLISH, retain: false, ...m }]);
  }
});
