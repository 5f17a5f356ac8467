// Services that what leaves the server goes to, by Node's own HTTP/2: push services of browsers, APNs, FCM with its token
// endpoint, receivers of webhooks. They behave as theirs do, unless a script says what to answer next. Told what to do
// line by line (device.mjs). SPDX-License-Identifier: Apache-2.0
import { createSecureServer } from 'node:http2';
import { readFileSync } from 'node:fs';
import { serve } from './device.mjs';

const refused = new Set(); // authorizations that are not taken any more
const scripts = new Map(); // path: what is answered next
let taken = [];
let sessions = 0;
let tokens = 0;
let tokenFails = 0;
let port;

const json = (status, body, headers = {}) => ({ status, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
const fcmError = (status, code, error) =>
  json(status, { error: { code: status, status: error ?? code, message: code, details: [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode: code }] } });

// What each service says by itself.
function natural(path, authorization) {
  if (path.startsWith('/3/device/')) {
    if (!authorization?.startsWith('bearer ')) return json(403, { reason: 'MissingProviderToken' });
    if (refused.has(authorization)) return json(403, { reason: 'ExpiredProviderToken' });
    if (path.endsWith('/dead')) return json(410, { reason: 'Unregistered', timestamp: 1767323045000 });
    return { status: 200, headers: { 'apns-id': 'EC1BF194-B3B2-424A-89A9-5A918A6E6B5F' }, body: '' };
  }
  if (path.startsWith('/v1/projects/')) {
    if (!authorization?.startsWith('Bearer ya29.') || refused.has(authorization)) return fcmError(401, 'UNAUTHENTICATED');
    return json(200, { name: 'projects/my-app/messages/1' });
  }
  if (path === '/token') {
    if (tokenFails) return tokenFails--, json(503, { error: 'unavailable' });
    return json(200, { access_token: `ya29.${++tokens}`, expires_in: 3599, token_type: 'Bearer' });
  }
  return { status: path.startsWith('/push/') ? 201 : 200, headers: {}, body: '' };
}

function answered(stream, path, authorization) {
  const next = scripts.get(path)?.shift();
  const a = next ? { headers: {}, body: '', ...next } : natural(path, authorization);
  if (a.hang) return null;
  setTimeout(() => {
    if (stream.destroyed) return;
    stream.writeHead(a.status, a.headers);
    stream.end(a.fill ? 'x'.repeat(a.fill) : a.body);
  }, a.delay ?? 0);
  return a.status;
}

await serve({
  start({ cert, key }) {
    const server = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true }, (request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const { ':path': _p, ':method': _m, ':scheme': _s, ':authority': _a, ...headers } = request.headers;
        const body = Buffer.concat(parts);
        if (request.aborted || Number(headers['content-length'] ?? body.length) !== body.length) return; // a half one, of a sender that died
        const status = answered(response, request.url, request.headers.authorization);
        taken.push({ method: request.method, path: request.url, headers: { ...headers }, body: body.toString('base64url'), version: request.httpVersion, status });
      });
    });
    server.on('session', () => sessions++);
    return new Promise((done) => server.listen(0, '127.0.0.1', () => done((port = server.address().port))));
  },
  script({ path, answers }) {
    scripts.set(path, answers);
  },
  refuse({ authorization }) {
    refused.add(authorization);
  },
  tokens_fail({ times }) {
    tokenFails = times;
  },
  taken() {
    const all = { requests: taken, sessions, tokens };
    taken = [];
    return all;
  },
});
process.exit(0);
