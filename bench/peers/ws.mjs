// The peer for memory of WebSocket connections: npm's `ws` alone, which takes a CONNECT and a SUBSCRIBE of MQTT 5, answers pings, and keeps nothing of its own.
// PEER_HOME: where `ws` is installed; argv: port. SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module';
const { WebSocketServer } = createRequire(process.env.PEER_HOME + '/')('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096, perMessageDeflate: false, handleProtocols: () => 'mqtt' });
const CONNACK = Buffer.from([0x20, 3, 0, 0, 0]), PINGRESP = Buffer.from([0xd0, 0]);

function take(packet) {
    const type = packet[0] >> 4;
    if (type === 1) this.send(CONNACK);
    else if (type === 8) this.send(Buffer.from([0x90, 4, packet[2], packet[3], 0, 0])); // a short packet: one byte of length
    else if (type === 12) this.send(PINGRESP);
}
server.on('connection', (socket) => socket.on('message', take));
