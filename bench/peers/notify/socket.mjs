// The usual stack's socket server: socket.io, WebSocket only. Each person's connections are a room. Staged is told by a job for each message and reads it from the store; lean by
// Redis' publish, with all that there is to say. argv: port. SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { redis, SocketServer, STAGED, verify, work } from './common.mjs';

const http = createServer();
const io = new SocketServer(http, { transports: ['websocket'], serveClient: false });

io.use((socket, next) => {
    try {
        socket.join(verify(socket.handshake.auth.token));
        next();
    } catch (error) {
        next(error);
    }
});

if (STAGED) {
    const db = redis();
    work('socket', 200, async ({ data: { user, message } }) => {
        const text = await db.get(`message:${message}`);
        const unseen = await db.scard(`unseen:${user}`);
        io.to(user).emit('notification', JSON.parse(text));
        io.to(user).emit('unseen', { unseen });
    });
} else {
    const live = redis();
    live.subscribe('live');
    live.on('message', (_, text) => {
        for (const message of JSON.parse(text)) io.to(message.user).emit('notification', message);
    });
}
http.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
