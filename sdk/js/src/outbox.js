// Messages on their way: kept in the store until the server has them, sent one at a time in each conversation, so that
// their order holds whatever fails, and again under the same id until they are acknowledged or refused for good.
// Keeps: what is in `all` is in the store, but for the moment of the writing. SPDX-License-Identifier: Apache-2.0
import { asKithError, KithError } from './problem.js';
import { newId } from './id.js';

const KEY = 'out:';
const OWN = ['conversation', 'from', 'created_at', 'state', 'problem', 'seq'];

/** What goes to the server of an outgoing message. */
export function contentOf(message) {
  const content = { ...message };
  for (const name of OWN) delete content[name];
  return content;
}

export class Outbox {
  #all = new Map();   // id -> message, oldest first
  #keys = new Map();  // id -> its key in the store
  #lanes = new Map(); // conversation -> {busy, timer, failures}
  #waiting = new Map(); // id -> [{resolve, reject}]
  #store; #writes = Promise.resolve(); #o; #running = false;

  /** o: {transmit(message) -> the stored message or nothing, changed(message), failed(KithError), backoff(failures) -> ms} */
  constructor(o) { this.#o = o; }

  /** What the store keeps from before comes before what was added meanwhile. */
  async load(store) {
    const kept = await store.list(KEY);
    const later = [...this.#all];
    this.#all = new Map();
    for (const [key, message] of kept.sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (message.problem) message.problem = new KithError(message.problem);
      if (message.state === 'sent') message.state = 'queued';
      this.#all.set(message.id, message);
      this.#keys.set(message.id, key);
    }
    this.#store = store;
    for (const [id, message] of later) {
      if (this.#all.has(id)) continue;
      this.#all.set(id, message);
      this.#keep(message);
    }
    this.#pumpAll();
  }

  list(conversation) { return [...this.#all.values()].filter((m) => !conversation || m.conversation === conversation).map((m) => ({ ...m })); }

  add(conversation, from, content) {
    const id = content.id ?? newId();
    if (!this.#all.has(id)) {
      const message = { ...JSON.parse(JSON.stringify(content)), id, conversation, from, created_at: new Date().toISOString(), state: 'queued' };
      this.#all.set(id, message);
      this.#keys.set(id, KEY + newId());
      this.#keep(message);
      queueMicrotask(() => this.#pump(conversation));
    }
    return { ...this.#all.get(id) };
  }

  /** Who sends became known. */
  from(user) { for (const m of this.#all.values()) if (!m.from) { m.from = user; this.#keep(m); } }

  stored(id, known) {
    const message = this.#all.get(id);
    if (!message) return known ? Promise.resolve(known) : Promise.reject(new KithError({ type: '/problems/not-found', title: 'This message is not in the outbox' }));
    if (message.state === 'refused') return Promise.reject(message.problem);
    return new Promise((resolve, reject) => {
      if (!this.#waiting.has(id)) this.#waiting.set(id, []);
      this.#waiting.get(id).push({ resolve, reject });
    });
  }

  retry(id) {
    const message = this.#all.get(id);
    if (message?.state !== 'refused') return;
    delete message.problem;
    this.#become(message, 'queued');
    this.#pump(message.conversation);
  }

  discard(id) {
    const message = this.#all.get(id);
    if (!message || message.state === 'sent') return;
    this.#forget(message);
    this.#answer(id, 'reject', new KithError({ type: '/problems/discarded', title: 'The message was discarded' }));
    this.#pump(message.conversation);
  }

  /** The message came back as an entry: it is stored, whether or not the acknowledgement has come yet. */
  seen(id, seq) { const m = this.#all.get(id); if (m) this.#done(m, { seq }); }

  /** There is a connection, or there is none. */
  run(running) {
    this.#running = running;
    if (running) this.#pumpAll();
  }

  /** When all that is to be kept has been written. */
  written() { return this.#writes; }

  #pumpAll() { for (const c of new Set([...this.#all.values()].map((m) => m.conversation))) this.#pump(c); }

  #pump(conversation) {
    if (!this.#running || !this.#store) return;
    if (!this.#lanes.has(conversation)) this.#lanes.set(conversation, { busy: false, failures: 0 });
    const lane = this.#lanes.get(conversation);
    clearTimeout(lane.timer);
    if (lane.busy) return;
    for (const message of this.#all.values()) {
      if (message.conversation === conversation && message.state === 'queued') return void this.#transmit(message, lane);
    }
    this.#lanes.delete(conversation);
  }

  async #transmit(message, lane) {
    lane.busy = true;
    this.#become(message, 'sent', false);
    let wait = 0;
    try {
      const stored = await this.#o.transmit(message);
      lane.failures = 0;
      if (this.#all.has(message.id)) this.#done(message, stored ?? {});
    } catch (e) {
      const problem = asKithError(e);
      if (!this.#all.has(message.id)) { /* it came back as an entry meanwhile */ }
      else if (problem.temporary) {
        if (message.state === 'sent') this.#become(message, 'queued', false);
        wait = Math.max(problem.retryAfter ?? 0, this.#o.backoff(lane.failures++));
      } else {
        message.problem = problem;
        this.#become(message, 'refused');
        this.#answer(message.id, 'reject', problem);
      }
    }
    lane.busy = false;
    if (wait) lane.timer = setTimeout(() => this.#pump(message.conversation), wait);
    else this.#pump(message.conversation);
  }

  #done(message, { seq, created_at }) {
    if (seq) message.seq = seq;
    if (created_at) message.created_at = created_at;
    message.state = 'stored';
    this.#forget(message);
    this.#o.changed({ ...message });
    this.#answer(message.id, 'resolve', { ...message });
  }

  #become(message, state, keep = true) {
    message.state = state;
    if (keep) this.#keep(message);
    this.#o.changed({ ...message });
  }

  #answer(id, how, value) {
    for (const w of this.#waiting.get(id) ?? []) w[how](value);
    this.#waiting.delete(id);
  }

  #forget(message) {
    const key = this.#keys.get(message.id);
    this.#all.delete(message.id);
    this.#keys.delete(message.id);
    this.#write((store) => store.delete(key));
  }

  #keep(message) {
    const key = this.#keys.get(message.id), p = message.problem;
    const plain = { ...message, problem: p && { type: p.type, title: p.title, status: p.status, detail: p.detail, field: p.field, reason: p.reason } };
    this.#write((store) => store.set(key, plain));
  }

  #write(act) {
    if (!this.#store) return; // load() does it
    const write = act(this.#store).catch((e) => this.#o.failed(asKithError(e))); // at once: the page may be gone in a moment
    this.#writes = Promise.all([this.#writes, write]).then(() => {});
  }
}
