// A member of MLS groups (RFC 9420) by npm ts-mls. MLS needs of its delivery service one thing: that all members see
// commits in one order. Here that is the conversation's seq: the first commit of an epoch counts, whoever made another
// one for the same epoch throws it away. A member's own commit, too, counts only once it has come back.
import { about, arrived, base64, bytes, call, check, load, serve } from './device.mjs';

const mls = await load('ts-mls');
const suite = await mls.getCiphersuiteImpl(mls.getCiphersuiteFromName('MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'));
const packed = (wireformat, more) => base64(mls.encodeMlsMessage({ version: 'mls10', wireformat, ...more }));
const unpacked = (text) => mls.decodeMlsMessage(bytes(text), 0)[0];

const packages = []; // {shown, publicPackage, privatePackage}: the private halves of what was published
let state;           // of the group; none before joining
let conversation;
let pending;         // {id, next, welcome, joiners}: the own commit that is on its way
let early = [];      // what came before the Welcome
const log = [];      // what was applied: [seq, epoch that it ended], the same for all members

async function fresh() {
  const credential = { credentialType: 'basic', identity: new TextEncoder().encode(`${about.user}/${about.device}`) };
  const made = await mls.generateKeyPackage(credential, mls.defaultCapabilities(), mls.defaultLifetime, [], suite);
  const shown = packed('mls_key_package', { keyPackage: made.publicPackage });
  packages.push({ shown, ...made });
  return shown;
}

async function publish({ count }) {
  const key_packages = [];
  for (let i = 0; i < count; i++) key_packages.push(await fresh());
  const key = packages[0].publicPackage.leafNode.signaturePublicKey;
  return call('PUT', `/v1/users/${about.user}/keys/${about.device}`, { identity_key: base64(key), key_packages, key_package_last_resort: await fresh() });
}

async function create({ group }) {
  const { publicPackage, privatePackage } = packages[0];
  conversation = group;
  state = await mls.createGroup(new TextEncoder().encode(group), publicPackage, privatePackage, [], suite);
}

const post = (message) => call('POST', `/v1/conversations/${conversation}/messages`, message);

// Proposes a commit: adding the named users' devices, or none (it renews the member's keys). Which packages were handed out.
async function commit({ id, add = [] }) {
  const extraProposals = [], joiners = [], claimed = [];
  for (const user of add) {
    for (const bundle of (await call('POST', `/v1/users/${user}/keys/claim`, {})).items) {
      const shown = bundle.key_package ?? bundle.key_package_last_resort;
      extraProposals.push({ proposalType: 'add', add: { keyPackage: unpacked(shown).keyPackage } });
      joiners.push({ user, device: bundle.device });
      claimed.push(shown);
    }
  }
  const made = await mls.createCommit({ state, cipherSuite: suite }, { extraProposals, ratchetTreeExtension: true });
  pending = { id, next: made.newState, welcome: made.welcome, joiners };
  await post({ id, data: { mls: base64(mls.encodeMlsMessage(made.commit)) } });
  return claimed;
}

async function send({ id, text }) {
  const made = await mls.createApplicationMessage(state, new TextEncoder().encode(text), suite);
  state = made.newState;
  await post({ id, data: { mls: packed('mls_private_message', { privateMessage: made.privateMessage }) } });
}

async function join(data) {
  const { welcome } = unpacked(data);
  for (const p of packages) {
    try {
      state = await mls.joinGroup(welcome, p.publicPackage, p.privatePackage, mls.emptyPskIndex, suite);
      return;
    } catch {
      // for another of this device's packages
    }
  }
  throw new Error('a Welcome for none of the packages');
}

async function own(m) {
  const { next, welcome, joiners } = pending;
  state = next;
  pending = undefined;
  if (welcome) {
    const data = packed('mls_welcome', { welcome });
    await post({ id: `${m.id}-welcome`, ciphertexts: joiners.map((j) => ({ ...j, data })) });
  }
}

// One message of the group, in the order of seq.
async function apply(m, out) {
  const pm = unpacked(m.data.mls).privateMessage, mine = m.from === about.user;
  const epoch = state.groupContext.epoch;
  if (pm.contentType === 'application') {
    if (mine || pm.epoch < epoch - 3n) return;
    const got = await mls.processPrivateMessage(state, pm, mls.emptyPskIndex, suite);
    state = got.newState;
    out.texts.push([m.seq, m.from, Buffer.from(got.message).toString()]);
    return;
  }
  const lost = pm.epoch < epoch;
  if (mine && pending?.id === m.id) {
    if (lost) pending = undefined, out.lost.push(m.id);
    else await own(m), out.won.push(m.id);
  } else if (!lost) {
    check(!mine, `${m.id}: an own commit of this epoch that is not known`);
    state = (await mls.processPrivateMessage(state, pm, mls.emptyPskIndex, suite)).newState;
  }
  if (!lost) log.push([m.seq, Number(pm.epoch)]);
}

async function receive({ group }) {
  const out = { texts: [], won: [], lost: [] };
  conversation ??= group;
  for (const m of await arrived()) {
    if (m.conversation !== conversation) continue;
    if (m.data) early.push(m);
    else if (m.ciphertexts && !state) await join(m.ciphertexts[0].data);
    if (!state) continue;
    const now = early;
    early = [];
    // What precedes the epoch in which one joins is not for this member.
    for (const e of now) if (log.length || unpacked(e.data.mls).privateMessage.epoch >= state.groupContext.epoch) await apply(e, out);
  }
  return out;
}

// null before joining.
const status = () => state && {
  epoch: Number(state.groupContext.epoch),
  authenticator: base64(state.keySchedule.epochAuthenticator),
  pending: pending?.id ?? null,
  log,
};

await serve({ publish, create, commit, send, receive, status });
