// A WebSocket client for Node before 22 (RFC 6455), as much of the browser's face as MqttLink needs: binary and text messages, ping
// answered, close. Over node:http, so that its agents and TLS are Node's own. SPDX-License-Identifier: Apache-2.0
import { request } from 'node:http';
import { request as secure } from 'node:https';
import { createHash, randomBytes } from 'node:crypto';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MESSAGE_MAX = 1 << 20;
const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

export class NodeWebSocket {
  readyState = 0; binaryType = 'arraybuffer';
  onopen = null; onmessage = null; onerror = null; onclose = null;
  #socket; #request; #bytes = Buffer.alloc(0); #parts = []; #kind = 0; #size = 0;

  constructor(url, protocol) {
    const key = randomBytes(16).toString('base64');
    this.#request = (url.startsWith('wss:') ? secure : request)(url.replace(/^ws/, 'http'), {
      agent: false,
      headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': key, ...(protocol && { 'sec-websocket-protocol': String(protocol) }) },
    });
    this.#request.on('response', (r) => { r.resume(); this.#fail(new Error(`the server answered ${r.statusCode} to the WebSocket handshake`)); });
    this.#request.on('error', (e) => this.#fail(e));
    this.#request.on('upgrade', (response, socket, head) => {
      const accept = createHash('sha1').update(key + GUID).digest('base64');
      if (response.headers['sec-websocket-accept'] !== accept) { socket.destroy(); return this.#fail(new Error('the WebSocket handshake is not answered as it must be')); }
      if (this.readyState !== 0) return socket.destroy();
      this.#open(socket, head);
    });
    this.#request.end();
  }

  #open(socket, head) {
    this.#socket = socket;
    this.readyState = 1;
    socket.setNoDelay(true);
    socket.on('data', (d) => this.#take(d));
    socket.on('error', (e) => this.#fail(e));
    socket.on('close', () => this.#closed());
    this.onopen?.({});
    if (head.length) this.#take(head);
  }

  send(data) { this.#frame(typeof data === 'string' ? TEXT : BINARY, Buffer.from(data)); }

  close() {
    if (this.readyState === 1) {
      this.readyState = 2;
      this.#frame(CLOSE, Buffer.from([3, 232])); // 1000
      this.#socket.end();
      const late = setTimeout(() => this.#socket.destroy(), 2000);
      late.unref();
    } else if (this.readyState === 0) {
      this.#request.destroy();
      this.#closed();
    }
  }

  #frame(opcode, payload) {
    if (!this.#socket?.writable) return;
    const n = payload.length, mask = randomBytes(4);
    const head = n < 126 ? Buffer.from([128 | opcode, 128 | n]) : n < 65536 ? Buffer.from([128 | opcode, 254, n >> 8, n & 255]) : Buffer.from([128 | opcode, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    if (n >= 65536) head.writeUInt32BE(n, 6);
    const masked = Buffer.allocUnsafe(n);
    for (let i = 0; i < n; i++) masked[i] = payload[i] ^ mask[i & 3];
    this.#socket.write(Buffer.concat([head, mask, masked]));
  }

  #take(chunk) {
    this.#bytes = this.#bytes.length ? Buffer.concat([this.#bytes, chunk]) : chunk;
    for (let used; this.readyState < 3 && (used = this.#one(this.#bytes)); ) this.#bytes = this.#bytes.subarray(used);
  }

  /** The bytes of the first frame, if it is all there. */
  #one(b) {
    if (b.length < 2) return 0;
    const fin = b[0] & 128, opcode = b[0] & 15, short = b[1] & 127;
    const at = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (b.length < at) return 0;
    const n = short < 126 ? short : short === 126 ? b.readUInt16BE(2) : b.readUInt32BE(2) ? Infinity : b.readUInt32BE(6);
    if (b[0] & 112 || b[1] & 128 || n > MESSAGE_MAX || (opcode > 7 && (!fin || n > 125))) return this.#wrong();
    if (b.length < at + n) return 0;
    this.#frameIs(opcode, fin, b.subarray(at, at + n));
    return at + n;
  }

  #frameIs(opcode, fin, payload) {
    if (opcode === PING) return this.#frame(PONG, payload);
    if (opcode === PONG) return undefined;
    if (opcode === CLOSE) return this.close();
    if (opcode > BINARY || (opcode === CONTINUATION) !== (this.#kind !== 0)) return this.#wrong();
    this.#kind ||= opcode;
    this.#parts.push(payload);
    if ((this.#size += payload.length) > MESSAGE_MAX) return this.#wrong();
    if (!fin) return undefined;
    const data = this.#parts.length === 1 ? payload : Buffer.concat(this.#parts), kind = this.#kind;
    this.#parts = [];
    this.#kind = this.#size = 0;
    if (this.readyState === 1) this.onmessage?.({ data: kind === TEXT ? data.toString() : data.buffer.slice(data.byteOffset, data.byteOffset + data.length) });
    return undefined;
  }

  #wrong() {
    this.#fail(new Error('what came is not WebSocket'));
    this.#socket.destroy();
    return 0;
  }

  #fail(error) {
    if (this.readyState === 3) return;
    this.onerror?.({ message: error.message, error });
    this.#closed();
  }

  #closed() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({});
  }
}
