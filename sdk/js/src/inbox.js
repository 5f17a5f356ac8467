// An inbox as it is shown: a page or more of a user's notifications, kept as they are by what comes live. Of a group there is one,
// which moves to the top when somebody joins it; what was marked elsewhere is marked here; counts are the server's.
// Keeps: newest first; an id is there once. SPDX-License-Identifier: Apache-2.0
import { Events } from './events.js';
import { asKithError } from './problem.js';

const IMPLIED = { seen: ['seen_at'], read: ['read_at', 'seen_at'], clicked: ['clicked_at', 'read_at', 'seen_at'], archived: ['archived_at'] };
const TIMER_MAX = 2 ** 31 - 1;
const at = (n) => n.updated_at ?? n.created_at;

export class Inbox {
  items = []; counts = { unseen: 0, unread: 0 }; loaded = false;
  #kith; #o; #events = new Events(); #off; #next = null; #loading; #missed = []; #timer; #closed = false;

  constructor(kith, options = {}) {
    this.#kith = kith;
    this.#o = { state: 'unarchived', limit: 30, ...options };
    this.#off = [
      kith.on('notification', (entry) => { if (this.#loading) this.#missed.push(entry); this.#take(entry); }),
      kith.on('gap', () => this.#again()),
      kith.on('state', (e) => { if (e.state === 'online' && (!e.resumed || !this.loaded)) this.#again(); }),
    ];
    this.#again();
  }

  get more() { return this.#next !== null; }
  on(event, handler) { return this.#events.on(event, handler); }

  /** From the newest. */
  load() {
    this.#loading ??= this.#load().finally(() => { this.#loading = undefined; });
    return this.#loading;
  }

  async next() {
    if (!this.#next) return;
    const cursor = this.#next;
    const page = await this.#page({ cursor });
    if (this.#next !== cursor) return; // asked twice, or begun anew meanwhile
    const known = new Set(this.items.map((n) => n.id));
    this.items.push(...page.items.filter((n) => !known.has(n.id)));
    this.#next = page.next;
    this.#changed();
  }

  /** Shown at once; what the server refuses is read again. */
  async mark(mark, which) {
    const body = typeof which === 'string' ? { ids: [which] } : Array.isArray(which) ? { ids: which } : which;
    this.#marked({ marked: mark, ids: [], ...body }, new Date().toISOString());
    this.#changed();
    try {
      const { counts } = await this.#kith.mark(mark, body);
      this.counts = counts;
      this.#changed();
    } catch (e) {
      this.#again();
      throw e;
    }
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const off of this.#off) off();
  }

  #page(query) { return this.#kith.notifications({ state: this.#o.state, limit: this.#o.limit, ...query }); }
  /** What is being read now may be of before. */
  async #again() {
    if (this.#loading) await this.#loading.catch(() => {});
    if (this.#closed) return;
    await this.load().catch((e) => this.#events.emit('error', asKithError(e)));
  }

  async #load() {
    this.#missed = [];
    const page = await this.#page({});
    if (this.#closed) return;
    this.items = page.items;
    this.#next = page.next;
    this.counts = page.counts;
    for (const entry of this.#missed) this.#apply(entry); // what the page had already comes to the same
    this.loaded = true;
    this.#changed();
  }

  #take(entry) {
    this.#apply(entry);
    this.#changed();
  }

  #apply({ at: when, notification: n }) {
    if ('marked' in n) {
      this.#marked(n, when);
      if (n.marked === 'archived' && this.#o.state === 'archived') this.#again(); // it belongs here from now on, and only the server has it
    } else if (!('workflow' in n)) this.#without(n.id, ...(n.more ?? []));
    else this.#shown(n);
    this.counts = n.counts;
  }

  #shown({ counts, replaces, ...n }) {
    const here = this.items.find((one) => one.id === n.id);
    if (here && at(here) > at(n)) return;
    this.#without(n.id, replaces);
    if (!this.#belongs(n)) return;
    const place = this.items.findIndex((one) => at(one) <= at(n));
    if (place >= 0) this.items.splice(place, 0, n);
    else if (!this.#next) this.items.push(n);
  }

  #marked({ marked, ids, upto }, when) {
    const from = upto === undefined ? -1 : this.items.findIndex((n) => n.id === upto);
    const meant = new Set(ids);
    this.items = this.items.map((n, i) => {
      if (!meant.has(n.id) && (from < 0 || i < from)) return n;
      return { ...Object.fromEntries(IMPLIED[marked].map((name) => [name, when])), ...n };
    }).filter((n) => this.#belongs(n));
  }

  #belongs(n) {
    switch (this.#o.state) {
      case 'archived': return Boolean(n.archived_at);
      case 'unseen': return !n.archived_at && !n.seen_at;
      case 'unread': return !n.archived_at && !n.read_at;
      case 'unarchived': return !n.archived_at;
      default: return true;
    }
  }

  #without(...ids) { this.items = this.items.filter((n) => !ids.includes(n.id)); }

  #changed() {
    clearTimeout(this.#timer);
    const ends = this.items.map((n) => Date.parse(n.expires_at)).filter((ms) => ms);
    if (ends.length && !this.#closed) {
      this.#timer = setTimeout(() => this.#again(), Math.min(TIMER_MAX, Math.max(100, Math.min(...ends) - Date.now() + 50)));
      this.#timer.unref?.();
    }
    this.#events.emit('change', this);
  }
}
