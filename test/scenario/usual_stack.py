"""A server that speaks what the usual notification stack speaks, as far as `kith bench notify --peer socketio` does: batches over HTTP, Socket.IO over WebSocket, on one port. It can be
told to misbehave, so that a test sees the load generator notice. SPDX-License-Identifier: Apache-2.0"""
import asyncio, base64, hashlib, json, struct, threading

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def frame(text):
    payload = text.encode()
    return b"\x81" + (bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))) + payload


async def said(reader):
    """One frame of a client: short, masked."""
    head = await reader.readexactly(2)
    n = head[1] & 0x7F
    if n == 126:
        n = struct.unpack(">H", await reader.readexactly(2))[0]
    mask, payload = await reader.readexactly(4), await reader.readexactly(n)
    return bytes(b ^ mask[i % 4] for i, b in enumerate(payload)).decode()


class UsualStack:
    def __init__(self):
        self.sockets, self.topics, self.count, self.pongs = {}, {}, 0, 0
        self.drops = self.repeats = self.refuses = 0  # each so many-th; 0: none
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()

    def serve(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path = head.split(" ")[:2]
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                if path.startswith("/socket.io/"):
                    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
                    accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()
                    writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
                    return await self.socket(reader, writer)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                status, answer = self.answer(path.split("/")[2:], json.loads(body or b"{}"))
                text = json.dumps(answer, separators=(",", ":")).encode()
                writer.write(f"HTTP/1.1 {status} OK\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def socket(self, reader, writer):
        writer.write(frame('0{"sid":"s","pingInterval":25000}') + frame("2"))
        while True:
            text = await said(reader)
            if text.startswith("40"):
                self.sockets[json.loads(text[2:])["token"]] = writer
                writer.write(frame('40{"sid":"s"}'))
            self.pongs += text == "3"

    def answer(self, path, body):
        if path[0] == "users":
            return 201, {"token": path[1]}
        if path[0] == "topics":
            self.topics.setdefault(path[1], []).extend(body["add"])
            return 200, {}
        if path[0] == "workflows":
            return 201, {}
        return 202, {"items": [self.trigger(item) for item in body["items"]]}

    def trigger(self, item):
        self.count += 1
        if self.refuses and self.count % self.refuses == 0:
            return {"type": "/problems/limit", "status": 429}
        for user in item["to"].get("users") or self.topics[item["to"]["topic"]]:
            times = 0 if self.drops and self.count % self.drops == 0 else 2 if self.repeats and self.count % self.repeats == 0 else 1
            text = frame("42" + json.dumps(["notification", {"id": "n", "title": "x" * 200, "data": item["data"]}], separators=(",", ":")))
            self.sockets[user].write(text * times)
        return {"id": str(self.count)}
