// A device on sdk/js in Node: lines as test/scenario/clients_test.py says, and some of its own.
// Arguments: port, transport, user, device, token; PEER_STORE: the file of its store.
import { createInterface } from 'node:readline';
import { fileStore, Kith } from '../../sdk/js/node.js';

const [port, transport, user, device, token] = process.argv.slice(2);
const tell = (value) => process.stdout.write(JSON.stringify({ value: value ?? null }) + '\n');
const received = [], told = [], states = [];
let minted = 0, inbox, archive, pushed = null;
const shown = () => ({ items: inbox.items.map((n) => [n.title, ...['seen', 'read', 'clicked'].filter((m) => n[`${m}_at`])].join(' ')), ids: inbox.items.map((n) => n.id), counts: inbox.counts, more: inbox.more });

/** Tokens that live `PEER_TTL` seconds, made by the server key, as an application's backend does. */
async function mint({ device: of }) {
  minted++;
  const answer = await fetch(`http://127.0.0.1:${port}/v1/users/${user}/tokens`, {
    method: 'POST', headers: { authorization: `Bearer ${token}` }, body: JSON.stringify({ device: of, ttl: process.env.PEER_TTL }) });
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  return answer.json();
}

const kith = new Kith({
  url: `http://127.0.0.1:${port}`, transport, device, user, token: process.env.PEER_TTL ? mint : token, store: process.env.PEER_STORE ? fileStore(process.env.PEER_STORE) : undefined,
  reconnect: { base: 50, max: 300 }, timeout: 5000,
});
kith.on('message', ({ event, message, cursor }) => void received.push({ event, item: { ...message, cursor } }));
kith.on('state', ({ state, transport: by, resumed, error }) => void states.push({ state, transport: by, resumed, code: error?.code }));
for (const name of ['receipt', 'conversation', 'counts', 'typing', 'presence', 'gap', 'error']) kith.on(name, (what) => void told.push([name, what]));

const acts = {
  connect: async () => { await kith.connect(); return { present: states.at(-1).resumed }; },
  subscribe: () => [1], // it has
  send: async (_qos, topic, ...payload) => { await kith.stored(kith.send(topic.split('/')[1], JSON.parse(payload.join(' ')))); return 'sent'; },
  queue: (conversation, from, to, by = '') => { for (let i = Number(from); i < Number(to); i++) kith.send(conversation, { id: `${by}q${i}`, body: String(i) }); return kith.outbox().length; },
  received: () => received,
  told: () => told,
  states: () => states,
  outbox: async () => { await kith.ready(); return kith.outbox(); },
  minted: () => minted,
  read: (conversation, seq) => kith.read(conversation, Number(seq)),
  typing: (conversation) => kith.typing(conversation),
  presence: (online) => kith.presence(online === 'true'),
  inbox: async () => { inbox ??= kith.inbox({ limit: 3 }); await inbox.load(); return shown(); },
  bell: () => shown(),
  archive: async () => { archive ??= kith.inbox({ state: 'archived' }); if (!archive.loaded) await archive.load(); return archive.items.map((n) => n.title); },
  more: async () => { await inbox.next(); return shown(); },
  mark: async (how, which) => { await inbox.mark(how, which.startsWith('{') ? JSON.parse(which) : which); return shown(); },
  wishes: async (put) => (put ? kith.putPreferences(JSON.parse(put)) : kith.preferences()),
  push: async (p256dh) => { // a browser's push service, as far as the client sees it
    const subscription = (options) => ({ options, toJSON: () => ({ endpoint: 'https://push.example/1', expirationTime: null, keys: { p256dh, auth: 'A'.repeat(22) } }), unsubscribe: () => { pushed = null; } });
    const registration = { pushManager: { getSubscription: async () => pushed, subscribe: async (options) => (pushed = subscription(options)) } };
    if (p256dh) await kith.subscribePush(registration);
    else await kith.unsubscribePush({ pushManager: { getSubscription: async () => pushed } });
    return pushed?.options.applicationServerKey.length ?? 0;
  },
  refused: async () => { try { return await kith.connect() ?? 'connected'; } catch (e) { return e.code; } },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [act, ...rest] = line.split(' ');
  tell(await acts[act](...rest));
}
await kith.close();
