// MQTT 5 as bytes: the packets that a client of kith writes, and those that it reads (OASIS MQTT 5.0, 2 and 3).
// Knows nothing of connections or time. What is not as the standard says throws a MalformedPacket; nothing that a
// server may send reads beyond its packet or takes more memory than the packet has. SPDX-License-Identifier: Apache-2.0

export const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 8, SUBACK = 9, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14;

/** What kith announces as its most (its own packets are not larger either). */
export const PACKET_MAX = 256 * 1024;

export class MalformedPacket extends Error {}

const bad = (words) => { throw new MalformedPacket(words); };
const text = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// Properties (2.2.2.2): identifier -> [name, type]. Those that come several times become lists.
const PROPERTIES = {
  0x01: ['payloadFormat', 'u8'], 0x02: ['messageExpiry', 'u32'], 0x03: ['contentType', 'text'], 0x08: ['responseTopic', 'text'], 0x09: ['correlation', 'data'],
  0x0b: ['subscriptionIds', 'var', true], 0x11: ['sessionExpiry', 'u32'], 0x12: ['assignedClientId', 'text'], 0x13: ['serverKeepAlive', 'u16'],
  0x15: ['authMethod', 'text'], 0x16: ['authData', 'data'], 0x1a: ['responseInformation', 'text'], 0x1c: ['serverReference', 'text'], 0x1f: ['reasonString', 'text'],
  0x21: ['receiveMaximum', 'u16'], 0x22: ['topicAliasMaximum', 'u16'], 0x23: ['topicAlias', 'u16'], 0x24: ['maximumQos', 'u8'], 0x25: ['retainAvailable', 'u8'],
  0x26: ['userProperties', 'pair', true], 0x27: ['maximumPacketSize', 'u32'], 0x28: ['wildcardsAvailable', 'u8'], 0x29: ['subscriptionIdsAvailable', 'u8'],
  0x2a: ['sharedAvailable', 'u8'],
};
const IDS = Object.fromEntries(Object.entries(PROPERTIES).map(([id, [name]]) => [name, Number(id)]));

// ---- writing ----

class Writer {
  constructor() { this.bytes = new Uint8Array(128); this.n = 0; }
  room(n) {
    if (this.n + n <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.n + n));
    larger.set(this.bytes.subarray(0, this.n));
    this.bytes = larger;
  }
  u8(v) { this.room(1); this.bytes[this.n++] = v; return this; }
  u16(v) { return this.u8(v >> 8).u8(v & 255); }
  u32(v) { return this.u16(v >>> 16).u16(v & 65535); }
  var(v) { do { this.u8((v % 128) | (v > 127 ? 128 : 0)); v = Math.floor(v / 128); } while (v > 0); return this; }
  raw(b) { this.room(b.length); this.bytes.set(b, this.n); this.n += b.length; return this; }
  data(b) { if (b.length > 65535) throw new RangeError('longer than MQTT can say'); return this.u16(b.length).raw(b); }
  text(s) { return this.data(text.encode(s)); }
  pair([a, b]) { return this.text(a).text(b); }
  properties(p = {}) {
    const w = new Writer();
    for (const [name, value] of Object.entries(p)) {
      const id = IDS[name], [, kind, many] = PROPERTIES[id];
      for (const v of many ? value : [value]) if (v !== undefined) w.u8(id)[kind](v);
    }
    return this.var(w.n).raw(w.bytes.subarray(0, w.n));
  }
  packet(type, flags) {
    const head = new Writer().u8((type << 4) | flags).var(this.n);
    return head.raw(this.bytes.subarray(0, this.n)).bytes.subarray(0, head.n);
  }
}

const asBytes = (payload) => (typeof payload === 'string' ? text.encode(payload) : payload);

export const encode = {
  connect({ clientId, user, password, keepAlive, clean = false, properties }) {
    return new Writer().text('MQTT').u8(5).u8(0xc0 | (clean ? 2 : 0)).u16(keepAlive).properties(properties).text(clientId).text(user).text(password).packet(CONNECT, 0);
  },
  publish({ topic, payload, qos = 0, dup = false, packet, properties }) {
    const w = new Writer().text(topic);
    if (qos) w.u16(packet);
    return w.properties(properties).raw(asBytes(payload)).packet(PUBLISH, (dup ? 8 : 0) | (qos << 1));
  },
  puback: (packet, reason = 0) => (reason ? new Writer().u16(packet).u8(reason) : new Writer().u16(packet)).packet(PUBACK, 0),
  /** filters: [[filter, qos]] */
  subscribe(packet, filters) {
    const w = new Writer().u16(packet).properties();
    for (const [filter, qos] of filters) w.text(filter).u8(qos);
    return w.packet(SUBSCRIBE, 2);
  },
  pingreq: () => new Writer().packet(PINGREQ, 0),
  disconnect: (reason = 0, properties) => (reason || properties ? new Writer().u8(reason).properties(properties) : new Writer()).packet(DISCONNECT, 0),
};

// ---- reading ----

class Reader {
  constructor(bytes) { this.bytes = bytes; this.at = 0; }
  get left() { return this.bytes.length - this.at; }
  need(n) { if (this.left < n) bad('a packet ends before its fields'); }
  u8() { this.need(1); return this.bytes[this.at++]; }
  u16() { return this.u8() * 256 + this.u8(); }
  u32() { return this.u16() * 65536 + this.u16(); }
  var() {
    for (let v = 0, scale = 1, i = 0; i < 4; i++, scale *= 128) {
      const b = this.u8();
      v += (b & 127) * scale;
      if (b < 128) return v;
    }
    return bad('a number of more than four bytes');
  }
  take(n) { this.need(n); return this.bytes.subarray(this.at, (this.at += n)); }
  data() { return this.take(this.u16()); }
  text() {
    try { return strict.decode(this.data()); } catch (e) { return e instanceof MalformedPacket ? bad(e.message) : bad('text that is not UTF-8'); }
  }
  pair() { return [this.text(), this.text()]; }
  properties() {
    const p = {};
    if (!this.left) return p;
    const inner = new Reader(this.take(this.var()));
    while (inner.left) {
      const [name, kind, many] = PROPERTIES[inner.u8()] ?? bad('a property that is not known');
      const value = inner[kind]();
      if (many) (p[name] ??= []).push(value);
      else if (name in p) bad('a property that comes twice');
      else p[name] = value;
    }
    return p;
  }
}

const READ = {
  [CONNACK]: (r) => ({ present: Boolean(r.u8() & 1), reason: r.u8(), properties: r.properties() }),
  [PUBLISH](r, flags) {
    const qos = (flags >> 1) & 3;
    if (qos === 3) bad('a QoS that is not');
    const topic = r.text(), packet = qos ? r.u16() || bad('a packet id of 0') : 0, properties = r.properties();
    return { topic, qos, packet, dup: Boolean(flags & 8), retain: Boolean(flags & 1), properties, payload: r.take(r.left) };
  },
  [PUBACK]: (r) => ({ packet: r.u16(), reason: r.left ? r.u8() : 0, properties: r.properties() }),
  [SUBACK]: (r) => ({ packet: r.u16(), properties: r.properties(), reasons: [...r.take(r.left)] }),
  [PINGRESP]: () => ({}),
  [DISCONNECT]: (r) => ({ reason: r.left ? r.u8() : 0, properties: r.properties() }),
};

/** Takes bytes as they come, however they are cut, and gives packets: `{type, ...}`. */
export class Decoder {
  #bytes = new Uint8Array(0);

  /** The packets that are whole now. After it has thrown, nothing more can be read. */
  push(chunk) {
    if (this.#bytes.length) {
      const both = new Uint8Array(this.#bytes.length + chunk.length);
      both.set(this.#bytes);
      both.set(chunk, this.#bytes.length);
      chunk = both;
    }
    const packets = [];
    let at = 0;
    for (let size; (size = whole(chunk, at)); at += size) packets.push(packet(chunk.subarray(at, at + size)));
    this.#bytes = chunk.slice(at);
    return packets;
  }
}

/** How long the packet is that begins there; 0: it is not all there. */
function whole(b, at) {
  let n = 0;
  for (let i = 1; i <= 4; i++) {
    if (at + i >= b.length) return 0;
    n += (b[at + i] & 127) * 128 ** (i - 1);
    if (b[at + i] > 127) continue;
    if (n > PACKET_MAX) bad('a packet that is too large');
    return at + 1 + i + n <= b.length ? 1 + i + n : 0;
  }
  return bad('a packet length of more than four bytes');
}

function packet(bytes) {
  const r = new Reader(bytes), first = r.u8(), type = first >> 4, flags = first & 15;
  r.var();
  if (!READ[type]) bad('a packet that no server sends to this client');
  if (type !== PUBLISH && flags) bad('flags that are reserved');
  const p = { type, ...READ[type](r, flags) };
  if (r.left) bad('a packet is longer than its fields');
  return p;
}
