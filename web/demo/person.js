// One person: a connection of their own, and what they see of their conversations. No element of the page is known here; who shows it listens to `change`.
// Keeps: messages are in the order of their seq, those the server does not have yet behind them; what came twice (a page that was read and the entry of it) is there once.
// SPDX-License-Identifier: Apache-2.0
import { Kith } from '/sdk/index.js';

const PAGE = 50;            // messages that are read at a time
const TYPING_MS = 4000;     // after which who has not written on does not write any more
const CAUGHT_UP_MS = 900;   // of quiet after coming back
const PRESENCE_MS = 4000;

// Counts come without names: what this tab gave is known here, so that it can be taken back.
const given = new Set(JSON.parse(sessionStorage.getItem('kith-demo-reactions') ?? '[]'));

async function tokenOf(user, device) {
  const answer = await fetch(`/demo/api/users/${user}/tokens?device=${encodeURIComponent(device)}`, { method: 'POST' });
  if (!answer.ok) throw new Error(`the server gave no token: ${answer.status}`);
  return answer.json();
}

export class Person extends EventTarget {
  conversations = new Map();
  state = 'connecting';      // as Kith says it
  cut = false;               // by the switch
  catchingUp = false;
  came = 0;                  // messages of others since the connection came back
  online = new Set();        // who else is, as their devices say; unknown while away
  error = '';
  #loaded = false;
  #early = [];
  #quiet;

  constructor(about) {
    super();
    const { device, ...rest } = about;
    Object.assign(this, rest); // id, name, hue
    this.kith = new Kith({ url: location.origin, user: this.id, device, token: (asked) => tokenOf(this.id, asked.device), presence: { every: PRESENCE_MS } });
    this.kith.on('state', (e) => this.#stateIs(e));
    this.kith.on('entry', (e) => this.#entry(e));
    this.kith.on('outbox', (m) => this.#outgoing(m));
    this.kith.on('typing', (e) => this.#typing(e));
    this.kith.on('presence', ({ user, online }) => {
      if (online) this.online.add(user);
      else this.online.delete(user);
      this.#changed('presence');
    });
    this.kith.on('gap', () => this.load());
    this.kith.on('error', (e) => this.#failed(e));
  }

  #changed(what, more) { this.dispatchEvent(new CustomEvent('change', { detail: { what, person: this, ...more } })); }
  #failed(e) {
    this.error = e.detail || e.title || String(e.message ?? e);
    this.#changed('error');
  }

  // ---- the connection ----

  async start() {
    await this.kith.connect();
    this.#changed('started');
    await this.load();
  }

  async setCut(cut) {
    if (this.cut === cut) return;
    this.cut = cut;
    for (const c of this.conversations.values()) c.away = cut ? c.seq : c.away;
    this.#changed('cut');
    if (cut) return void await this.kith.close();
    this.came = 0;
    this.catchingUp = true;
    this.#changed('cut');
    try {
      await this.kith.connect();
      this.#settle();
    } catch (e) {
      if (!this.cut) this.#failed(e);
    }
  }

  /** Some quiet after the last entry: that was all. */
  #settle() {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      this.catchingUp = false;
      this.#changed('caught-up');
    }, CAUGHT_UP_MS);
  }

  #stateIs({ state, error }) {
    this.state = state;
    if (state === 'closed' && error && !this.cut) this.error = error.code === 'taken-over' ? `${this.name} was opened in another tab` : error.title;
    else if (state === 'online') this.error = '';
    this.#changed('state');
  }

  // ---- what there is ----

  async load() {
    const { items } = await this.kith.conversations({ limit: 100 });
    for (const c of await Promise.all(items.map((about) => this.#ask(about)))) this.#know(c); // all at once: a list that fills up piece by piece jumps
    this.#loaded = true;
    for (const m of this.kith.outbox()) this.#outgoing(m);
    for (const e of this.#early.splice(0)) this.#entry(e);
    this.#changed('list');
    for (const c of this.list()) this.open(c.id); // so that it is there when somebody looks
  }

  /** What the server knows of a conversation: the newest page too, of one that is open. */
  async #ask(about) {
    const opened = this.conversations.get(about.id)?.opened;
    const [members, receipts, page] = await Promise.all([this.kith.members(about.id, { limit: 200 }), this.kith.receipts(about.id, { limit: 200 }).catch(() => ({ items: [] })),
      opened ? this.kith.messages(about.id, { limit: PAGE }) : null]);
    return { about, members, receipts, page };
  }

  #know({ about, members, receipts, page }) {
    const c = this.conversations.get(about.id) ?? { id: about.id, messages: new Map(), pending: new Map(), typing: new Map(), marks: new Map(), whole: false, away: null };
    Object.assign(c, { type: about.type, name: about.name, last: about.last, unread: about.unread, read: about.read, seq: about.last?.seq ?? 0, members: members.items.map((m) => m.user) });
    for (const r of receipts.items) this.#mark(c, r);
    this.conversations.set(c.id, c);
    if (page) this.#keep(c, page);
    if (!c.last) c.since ??= new Date().toISOString();
  }

  /** Newest first, as they are listed. */
  list() {
    const at = (c) => this.lastOf(c)?.created_at ?? this.lastOf(c)?.deleted_at ?? c.since ?? '';
    return [...this.conversations.values()].sort((a, b) => at(b).localeCompare(at(a)) || a.id.localeCompare(b.id));
  }
  lastOf(c) { return [...c.pending.values()].at(-1) ?? c.last; }
  unread() { return [...this.conversations.values()].reduce((n, c) => n + c.unread, 0); }
  queued() { return [...this.conversations.values()].reduce((n, c) => n + [...c.pending.values()].filter((m) => m.state !== 'stored').length, 0); }
  isOnline(user) { return this.state === 'online' && this.online.has(user); }
  others(c) { return c.members.filter((u) => u !== this.id); }
  messages(c) { return [...[...c.messages.values()].sort((a, b) => a.seq - b.seq), ...c.pending.values()]; }

  async open(id) {
    const c = this.conversations.get(id);
    if (!c) return;
    c.opened = true;
    if (!c.messages.size && c.seq && this.state === 'online') await this.#page(c, {}).catch((e) => this.#failed(e));
    this.#changed('messages', { conversation: id });
  }

  /** One page more of what was before. */
  async older(c) {
    const first = this.messages(c)[0];
    if (c.whole || c.reading || !first?.seq || this.state !== 'online') return false;
    c.reading = true;
    try {
      await this.#page(c, { before: first.seq });
    } finally {
      c.reading = false;
    }
    this.#changed('messages', { conversation: c.id, older: true });
    return true;
  }

  async #page(c, where) {
    this.#keep(c, await this.kith.messages(c.id, { limit: PAGE, ...where }));
  }

  #keep(c, { items, next }) {
    for (const m of items) c.messages.set(m.id, m);
    if (!next) c.whole = true;
  }

  // ---- what comes ----

  #entry(entry) {
    if (!this.#loaded) return void this.#early.push(entry);
    if (entry.type === 'message') this.#message(entry);
    else if (entry.type === 'receipt') {
      const c = this.conversations.get(entry.receipt.conversation);
      if (c) this.#mark(c, entry.receipt);
      this.#changed('marks', { conversation: entry.receipt.conversation });
    } else if (entry.type === 'conversation') this.#place(entry);
  }

  #message({ event, message }) {
    let m = message;
    const c = this.conversations.get(m.conversation);
    if (!c) return;
    if (this.catchingUp) this.#settle();
    const isNew = event === 'created' && m.seq > c.seq, old = c.messages.get(m.id);
    if (old) m = { from: old.from, created_at: old.created_at, ...m }; // a stub of what was deleted says neither
    if (m.from === this.id) c.pending.delete(m.id);
    if (isNew) {
      c.seq = m.seq;
      c.last = m;
      if (m.from && m.from !== this.id) c.unread++;
      if (this.catchingUp && m.from !== this.id) this.came++;
      c.typing.delete(m.from);
    } else if (c.last?.id === m.id) c.last = m;
    if (c.opened && (event === 'created' || c.messages.has(m.id))) c.messages.set(m.id, m);
    this.#changed('messages', { conversation: c.id, message: isNew ? m : undefined });
  }

  async #place({ event, conversation: { id } }) {
    if (event === 'deleted') this.conversations.delete(id);
    else if (!this.conversations.has(id)) {
      try {
        const { items } = await this.kith.conversations({ limit: 100 });
        const about = items.find((c) => c.id === id);
        if (about) this.#know(await this.#ask(about));
      } catch (e) {
        return this.#failed(e);
      }
    }
    this.#changed('list', { conversation: id });
  }

  #mark(c, { user, delivered, read }) {
    const old = c.marks.get(user) ?? { delivered: 0, read: 0 };
    c.marks.set(user, { delivered: Math.max(old.delivered, delivered, read), read: Math.max(old.read, read) });
  }

  #typing({ conversation, from }) {
    const c = this.conversations.get(conversation);
    if (!c || from === this.id) return;
    clearTimeout(c.typing.get(from));
    c.typing.set(from, setTimeout(() => {
      c.typing.delete(from);
      this.#changed('typing', { conversation });
    }, TYPING_MS));
    this.#changed('typing', { conversation });
  }

  // ---- what goes ----

  #outgoing(m) {
    const c = this.conversations.get(m.conversation);
    if (!c) return;
    if (c.messages.has(m.id)) c.pending.delete(m.id);
    else if (m.state === 'stored' && m.seq) {
      const { state, problem, ...kept } = m;
      c.pending.delete(m.id);
      c.messages.set(m.id, kept);
      if (m.seq > c.seq) Object.assign(c, { seq: m.seq, last: kept });
    } else if (m.state !== 'stored' || c.pending.has(m.id)) c.pending.set(m.id, m);
    this.#changed('messages', { conversation: c.id, sent: m });
  }

  send(id, content) { this.#outgoing(this.kith.send(id, content)); }
  typing(id) { this.kith.typing(id); }
  retry(m) { this.kith.retry(m.id); }
  discard(m) {
    this.kith.discard(m.id);
    this.conversations.get(m.conversation)?.pending.delete(m.id);
    this.#changed('messages', { conversation: m.conversation });
  }

  /** What is on the screen is read. */
  read(c) {
    const seq = Math.max(c.seq, c.last?.seq ?? 0);
    if (!c.unread && c.read >= seq) return;
    c.unread = 0;
    c.read = seq;
    if (seq) this.kith.read(c.id, seq);
    this.#changed('read', { conversation: c.id });
  }

  /** {is: queued | refused | stored | delivered | read, readers, holders, of} of a message of this person. */
  progress(c, m) {
    if (m.state && m.state !== 'stored') return { is: m.state === 'refused' ? 'refused' : 'queued' };
    const others = this.others(c), seq = m.seq ?? Infinity;
    const readers = others.filter((u) => (c.marks.get(u)?.read ?? 0) >= seq), holders = others.filter((u) => (c.marks.get(u)?.delivered ?? 0) >= seq);
    const is = others.length && readers.length === others.length ? 'read' : others.length && holders.length === others.length ? 'delivered' : 'stored';
    return { is, readers, holders, of: others.length };
  }

  async #try(call) {
    try {
      return await call();
    } catch (e) {
      this.#failed(e);
      return undefined;
    }
  }
  edit(m, body) { return this.#try(() => this.kith.edit(m.conversation, m.id, body)); }
  remove(m) { return this.#try(() => this.kith.delete(m.conversation, m.id)); }

  reacted(m, emoji) { return given.has(`${this.id} ${m.conversation} ${m.id} ${emoji}`); }
  react(m, emoji) {
    const key = `${this.id} ${m.conversation} ${m.id} ${emoji}`, on = !given.has(key);
    if (on) given.add(key);
    else given.delete(key);
    sessionStorage.setItem('kith-demo-reactions', JSON.stringify([...given]));
    return this.#try(() => (on ? this.kith.react(m.conversation, m.id, emoji) : this.kith.unreact(m.conversation, m.id, emoji)));
  }

  /** With one other: their direct conversation. Gives its id. */
  async converse(users, name) {
    if (users.length === 1) {
      const known = [...this.conversations.values()].find((c) => c.type === 'direct' && c.members.includes(users[0]));
      if (known) return known.id;
    }
    const id = users.length === 1 ? [this.id, ...users].sort().join('-') : `group-${crypto.randomUUID().slice(0, 8)}`;
    const made = await this.#try(() => this.kith.putConversation(id, { type: users.length === 1 ? 'direct' : 'group', members: [this.id, ...users], ...(users.length > 1 && { name }) }));
    if (!made) return undefined;
    // it reaches its members by a relay: the entry of it, or the list, a moment later
    for (let i = 0; i < 60 && !this.conversations.has(id); i++) await new Promise((done) => { setTimeout(done, 50); });
    return this.conversations.has(id) ? id : undefined;
  }
}
