// One MQTT 5 connection over a WebSocket: from the handshake to the end of it, once. What comes is told to `on`; what is
// sent at QoS 1 resolves when it is acknowledged. A link that ends stays ended: who wants another makes another.
// Keeps: at most what the server allows is unacknowledged, the rest waits; silence is asked after, and then ends the link.
// SPDX-License-Identifier: Apache-2.0
import { Decoder, encode, CONNACK, DISCONNECT, MalformedPacket, PACKET_MAX, PUBACK, PUBLISH, SUBACK } from './mqtt.js';
import { KithError } from './problem.js';

export class MqttLink {
  kind = 'mqtt';
  #o; #socket; #decoder = new Decoder(); #connected = false; #ended = false; #heard = 0; #spoke = 0; #watch; #keepAlive; #pinged = 0;
  #waiting = new Map(); // packet id -> {resolve, reject, packet}
  #backlog = [];        // PUBLISHes that the server's receive maximum does not allow yet
  #allowed = 65535; #underWay = 0; #nextPacket = 1; #opening;

  /** o: {url, WebSocket, clientId, user, password, keepAlive (s), sessionExpiry (s), receiveMaximum, timeout (ms)};
   *  on: {publish(packet), end(KithError, reference?)} */
  constructor(o, on) { this.#o = o; this.on = on; }

  /** The CONNACK: {present, properties}; rejects where there is none, or where it refuses. */
  open() {
    const { url, WebSocket, timeout } = this.#o;
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject, reached: false };
      this.#opening.timer = setTimeout(() => this.#end(KithError.timeout('the server did not answer the CONNECT')), timeout);
      try {
        this.#socket = new WebSocket(url, 'mqtt');
      } catch (e) {
        return this.#end(KithError.network(e.message, e));
      }
      this.#socket.binaryType = 'arraybuffer';
      this.#socket.onopen = () => this.#hello();
      this.#socket.onmessage = ({ data }) => this.#take(data);
      this.#socket.onerror = (e) => this.#end(KithError.network(`the WebSocket failed: ${e?.message || url}`));
      this.#socket.onclose = () => this.#end(KithError.network('the connection ended'));
    });
  }

  #hello() {
    const { clientId, user, password, keepAlive, sessionExpiry, receiveMaximum } = this.#o;
    this.#write(encode.connect({ clientId, user, password, keepAlive, properties: { sessionExpiry, receiveMaximum, maximumPacketSize: PACKET_MAX } }));
  }

  #write(bytes) {
    if (this.#ended || this.#socket.readyState !== 1) return;
    this.#spoke = Date.now();
    this.#socket.send(bytes);
  }

  #take(data) {
    if (this.#ended) return;
    this.#heard = Date.now();
    try {
      if (typeof data === 'string') throw new MalformedPacket('text in the place of MQTT');
      for (const p of this.#decoder.push(new Uint8Array(data))) this.#packet(p);
    } catch (e) {
      if (!(e instanceof MalformedPacket)) throw e;
      this.#write(encode.disconnect(0x81));
      this.#end(KithError.network(`what came is not MQTT: ${e.message}`, e));
    }
  }

  #packet(p) {
    if (this.#ended) return;
    if (p.type === CONNACK) this.#connack(p);
    else if (!this.#connected) throw new MalformedPacket('something before CONNACK');
    else if (p.type === PUBLISH) this.on.publish(p);
    else if (p.type === PUBACK || p.type === SUBACK) this.#acknowledged(p);
    else if (p.type === DISCONNECT) this.#end(KithError.reason(p.reason, p.properties.reasonString), p.properties.serverReference);
  }

  #connack(p) {
    if (this.#connected) throw new MalformedPacket('a second CONNACK');
    if (p.reason) return this.#end(KithError.reason(p.reason, p.properties.reasonString), p.properties.serverReference);
    this.#connected = true;
    this.#allowed = p.properties.receiveMaximum ?? 65535;
    this.#keepAlive = (p.properties.serverKeepAlive ?? this.#o.keepAlive) * 1000;
    if (this.#keepAlive) this.#watch = setInterval(() => this.#alive(), Math.min(this.#keepAlive / 4, 5000));
    clearTimeout(this.#opening.timer);
    this.#opening.resolve(p);
    this.#opening = null;
  }

  /** Half of the keep-alive without a word of ours, or without one of theirs: PINGREQ. No answer to that in time: the end. */
  #alive() {
    const now = Date.now();
    if (this.#pinged && this.#heard >= this.#pinged) this.#pinged = 0;
    if (this.#pinged && now - this.#pinged > Math.min(this.#keepAlive, this.#o.timeout)) this.#end(KithError.timeout('the server fell silent'));
    else if (!this.#pinged && (now - this.#spoke >= this.#keepAlive / 2 || now - this.#heard >= this.#keepAlive / 2)) this.#ping();
  }

  #ping() {
    this.#pinged = Date.now();
    this.#write(encode.pingreq());
  }

  /** Asks at once whether it still lives: after sleep, or when the network changed. */
  probe(ms = 5000) {
    if (this.#ended || !this.#connected) return;
    this.#ping();
    const asked = this.#pinged;
    setTimeout(() => { if (this.#heard < asked) this.#end(KithError.timeout('the connection is dead')); }, ms);
  }

  #free() {
    do this.#nextPacket = this.#nextPacket % 65535 + 1; while (this.#waiting.has(this.#nextPacket));
    return this.#nextPacket;
  }

  #acknowledged(p) {
    const asked = this.#waiting.get(p.packet);
    if (!asked) return;
    this.#waiting.delete(p.packet);
    if (p.type === PUBACK) {
      this.#underWay--;
      while (this.#backlog.length && this.#underWay < this.#allowed) this.#backlog.shift()();
    }
    asked.resolve(p);
  }

  #ask(bytes, packet, counts) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(packet, { resolve, reject });
      const go = () => { this.#underWay += counts; this.#write(bytes); };
      if (counts && this.#underWay >= this.#allowed) this.#backlog.push(go);
      else go();
    });
  }

  /** QoS 1: resolves with the reason code and its words when the server has answered. */
  async publish(topic, payload) {
    if (this.#ended) throw this.#ended;
    const packet = this.#free();
    const p = await this.#ask(encode.publish({ topic, payload, qos: 1, packet }), packet, 1);
    if (p.reason >= 0x80) throw KithError.reason(p.reason, p.properties.reasonString);
  }

  /** QoS 0: nobody knows whether it arrived. */
  say(topic, payload) { this.#write(encode.publish({ topic, payload })); }

  /** filters: [[filter, qos]]; resolves with the reason codes. */
  async subscribe(filters) {
    const packet = this.#free();
    return (await this.#ask(encode.subscribe(packet, filters), packet, 0)).reasons;
  }

  acknowledge(packet) { if (packet) this.#write(encode.puback(packet)); }

  close() {
    this.#write(encode.disconnect());
    this.#end(KithError.network('closed'));
  }

  #end(problem, reference) {
    if (this.#ended) return;
    this.#ended = problem;
    clearInterval(this.#watch);
    clearTimeout(this.#opening?.timer);
    for (const { reject } of this.#waiting.values()) reject(problem);
    this.#waiting.clear();
    this.#backlog = [];
    const s = this.#socket;
    if (s) {
      s.onopen = s.onmessage = s.onerror = s.onclose = null;
      s.onerror = () => {};
      try { s.close(); } catch { /* it never opened */ }
    }
    if (this.#opening) this.#opening.reject(Object.assign(problem, { reference }));
    else this.on.end(problem, reference);
  }
}
