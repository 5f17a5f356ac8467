// A device that speaks the Signal protocol (PQXDH, then the double ratchet) by npm @signalapp/libsignal-client. The server
// sees public keys and ciphertexts; private keys and sessions live in this process.
import { about, arrived, base64, bytes, call, check, load, serve } from './device.mjs';

const s = await load('@signalapp/libsignal-client');
const identity = s.IdentityKeyPair.generate();
const registration = 1 + Math.floor(Math.random() * 16380);

const held = (map, what) => (id) => {
  check(map.has(id), `${what} ${id} is not, or no longer, this device's`);
  return map.get(id);
};
class Sessions extends s.SessionStore {
  all = new Map();
  saveSession = async (name, record) => void this.all.set(name.toString(), record.serialize());
  getSession = async (name) => {
    const record = this.all.get(name.toString());
    return record ? s.SessionRecord.deserialize(record) : null;
  };
  getExistingSessions = async (names) => Promise.all(names.map((n) => this.getSession(n)));
}
class Identities extends s.IdentityKeyStore {
  known = new Map();
  getIdentityKey = async () => identity.privateKey;
  getLocalRegistrationId = async () => registration;
  saveIdentity = async (name, key) => {
    const before = this.known.get(name.toString());
    this.known.set(name.toString(), key);
    return before && !before.equals(key) ? s.IdentityChange.ReplacedExisting : s.IdentityChange.NewOrUnchanged;
  };
  isTrustedIdentity = async (name, key) => this.known.get(name.toString())?.equals(key) ?? true;
  getIdentity = async (name) => this.known.get(name.toString()) ?? null;
}
class OneTime extends s.PreKeyStore {
  all = new Map();
  savePreKey = async (id, record) => void this.all.set(id, record);
  getPreKey = async (id) => held(this.all, 'one-time key')(id);
  removePreKey = async (id) => void this.all.delete(id);
}
class Signed extends s.SignedPreKeyStore {
  all = new Map();
  saveSignedPreKey = async (id, record) => void this.all.set(id, record);
  getSignedPreKey = async (id) => held(this.all, 'signed prekey')(id);
}
const LAST_RESORT = 9999;
class Kem extends s.KyberPreKeyStore {
  all = new Map();
  used = [];
  saveKyberPreKey = async (id, record) => void this.all.set(id, record);
  getKyberPreKey = async (id) => held(this.all, 'KEM key')(id);
  markKyberPreKeyUsed = async (id) => {
    this.used.push(id);
    if (id !== LAST_RESORT) this.all.delete(id);
  };
}
const sessions = new Sessions(), identities = new Identities(), oneTime = new OneTime(), signed = new Signed(), kem = new Kem();
// Signal's addresses number the devices; kith's devices have names, and the number is of no meaning to it.
const address = (user, device) => s.ProtocolAddress.new(`${user}/${device}`, 1);
const own = address(about.user, about.device);

async function kemKey(id) {
  const pair = s.KEMKeyPair.generate();
  const signature = identity.privateKey.sign(pair.getPublicKey().serialize());
  await kem.saveKyberPreKey(id, s.KyberPreKeyRecord.new(id, Date.now(), pair, signature));
  return { id, key: base64(pair.getPublicKey().serialize()), signature: base64(signature) };
}

async function publish({ first, count }) {
  const pair = s.PrivateKey.generate();
  const signature = identity.privateKey.sign(pair.getPublicKey().serialize());
  await signed.saveSignedPreKey(first, s.SignedPreKeyRecord.new(first, Date.now(), pair.getPublicKey(), pair, signature));
  const bundle = {
    identity_key: base64(identity.publicKey.serialize()),
    registration_id: registration,
    signed_prekey: { id: first, key: base64(pair.getPublicKey().serialize()), signature: base64(signature) },
    kem_last_resort: await kemKey(LAST_RESORT),
    one_time_keys: [],
    kem_one_time_keys: [],
  };
  for (let id = first; id < first + count; id++) {
    const one = s.PrivateKey.generate();
    await oneTime.savePreKey(id, s.PreKeyRecord.new(id, one.getPublicKey(), one));
    bundle.one_time_keys.push({ id, key: base64(one.getPublicKey().serialize()) });
    bundle.kem_one_time_keys.push(await kemKey(id));
  }
  return call('PUT', `/v1/users/${about.user}/keys/${about.device}`, bundle);
}

// Begins a session with each of the user's devices, or with those named; which keys were handed out for it.
async function begin({ user, devices }) {
  const out = [];
  for (const b of (await call('POST', `/v1/users/${user}/keys/claim`, { devices })).items) {
    const one = b.one_time_key, post = b.kem_one_time_key ?? b.kem_last_resort, sp = b.signed_prekey;
    const bundle = s.PreKeyBundle.new(
      b.registration_id, 1, one ? one.id : null, one ? s.PublicKey.deserialize(bytes(one.key)) : null, sp.id, s.PublicKey.deserialize(bytes(sp.key)),
      bytes(sp.signature), s.PublicKey.deserialize(bytes(b.identity_key)), post.id, s.KEMPublicKey.deserialize(bytes(post.key)), bytes(post.signature));
    await s.processPreKeyBundle(bundle, address(user, b.device), own, sessions, identities);
    out.push({ device: b.device, one_time: one?.id ?? null, kem: post.id });
  }
  return out;
}

// Encrypts for each device with which there is a session, as [user, device].
async function send({ conversation, id, text, to }) {
  const ciphertexts = [];
  for (const [user, device] of to) {
    const sealed = await s.signalEncrypt(Buffer.from(text), address(user, device), own, sessions, identities);
    ciphertexts.push({ user, device, data: `${sealed.type()}:${base64(sealed.serialize())}` });
  }
  const m = await call('POST', `/v1/conversations/${conversation}/messages`, { id, data: { from_device: about.device }, ciphertexts });
  return { seq: m.seq, types: ciphertexts.map((c) => Number(c.data.split(':')[0])) };
}

async function receive() {
  const out = [];
  for (const m of await arrived()) {
    check((m.ciphertexts ?? []).every((c) => c.user === about.user && c.device === about.device), `${m.id}: ciphertexts of another device`);
    for (const c of m.ciphertexts ?? []) {
      const from = address(m.from, m.data.from_device), [type, data] = c.data.split(':');
      const text = Number(type) === s.CiphertextMessageType.PreKey
        ? await s.signalDecryptPreKey(s.PreKeySignalMessage.deserialize(bytes(data)), from, own, sessions, identities, oneTime, signed, kem)
        : await s.signalDecrypt(s.SignalMessage.deserialize(bytes(data)), from, own, sessions, identities);
      out.push({ seq: m.seq, id: m.id, from: m.from, text: Buffer.from(text).toString() });
    }
  }
  return out;
}

const forget = ({ user, device }) => void sessions.all.delete(address(user, device).toString());
const state = () => ({ one_time: oneTime.all.size, kem: kem.all.size, kem_used: kem.used });

await serve({ publish, begin, send, receive, forget, state });
