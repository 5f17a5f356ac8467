// The other side of what leaves the server, on libraries of others: a browser's push subscription that decrypts with
// http_ece, a receiver of webhooks on standardwebhooks, and Node's own cryptography for tokens. Told what to do line by
// line (device.mjs).
import { createECDH, createPublicKey, randomBytes, verify } from 'node:crypto';
import { check, load, serve } from './device.mjs';

const url = (bytes) => Buffer.from(bytes).toString('base64url');
const bytes = (text) => Buffer.from(text, 'base64url');
let browser;

// A P-256 point as a key that Node verifies with.
const point = (raw) =>
  createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: url(raw.subarray(1, 33)), y: url(raw.subarray(33)) }, format: 'jwk' });

await serve({
  subscribe() {
    browser = { keys: createECDH('prime256v1'), auth: randomBytes(16) };
    browser.keys.generateKeys();
    return { p256dh: url(browser.keys.getPublicKey()), auth: url(browser.auth) };
  },

  async decrypt({ body }) {
    const { default: ece } = await load('http_ece');
    return ece.decrypt(bytes(body), { version: 'aes128gcm', privateKey: browser.keys, authSecret: url(browser.auth) }).toString();
  },

  // The same by another implementation, for ours to be told from it: what it encrypts is as long as ours.
  async encrypted({ payload }) {
    const { default: ece } = await load('http_ece');
    const sender = createECDH('prime256v1');
    sender.generateKeys();
    return ece.encrypt(Buffer.from(payload), { version: 'aes128gcm', privateKey: sender, dh: browser.keys.getPublicKey(), authSecret: url(browser.auth) }).length;
  },

  // A token's head and claims, once its signature holds.
  token({ token, p256, rsa }) {
    const [head, claims, signature] = token.split('.');
    const text = Buffer.from(`${head}.${claims}`);
    const key = p256 ? { key: point(bytes(p256)), dsaEncoding: 'ieee-p1363' } : createPublicKey({ key: bytes(rsa), format: 'der', type: 'spki' });
    check(verify('sha256', text, key, bytes(signature)), 'the signature does not hold');
    check(!verify('sha256', Buffer.from(`${head}.${claims}x`), key, bytes(signature)), 'any signature holds');
    return { head: JSON.parse(bytes(head)), claims: JSON.parse(bytes(claims)) };
  },

  async receive({ secret, body, headers }) {
    const { Webhook } = await load('standardwebhooks');
    return new Webhook(secret).verify(body, headers);
  },

  async send({ secret, id, now, body }) {
    const { Webhook } = await load('standardwebhooks');
    return new Webhook(secret).sign(id, new Date(now), body);
  },

  // v1a is in no library of Node's: by the specification's words.
  receiveAsymmetric({ key, body, headers }) {
    const raw = Buffer.from(key.replace(/^whpk_/, ''), 'base64');
    const public_ = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: url(raw) }, format: 'jwk' });
    const text = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
    const sig = headers['webhook-signature'].split(' ').find((part) => part.startsWith('v1a,'));
    return verify(null, text, public_, Buffer.from(sig.slice(4), 'base64'));
  },
});
