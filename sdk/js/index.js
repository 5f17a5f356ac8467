// kith-client: one device's connection to kith, its outbox, and the calls. What it offers is said in index.d.ts.
//
// connect() begins a loop: get a token, open a link (MQTT, or SSE where that cannot be had), be online until the link ends, wait a random
// while, again. What comes goes through one queue: an entry is shown once, by its cursor, and acknowledged when its handlers are done.
// Keeps: the cursor is that of the last entry shown; before it nothing is missing, unless `gap` was told. SPDX-License-Identifier: Apache-2.0
import { call, pathOf } from './src/http.js';
import { Events } from './src/events.js';
import { MqttLink } from './src/mqtt-link.js';
import { SseLink } from './src/sse-link.js';
import { Outbox, contentOf } from './src/outbox.js';
import { indexedDBStore, memoryStore } from './src/store.js';
import { asKithError, KithError } from './src/problem.js';
import { newId } from './src/id.js';
import { claimsOf, Tokens } from './src/tokens.js';
import { Marks } from './src/marks.js';
import { Presence } from './src/presence.js';
import { Calls } from './src/calls.js';

export { KithError, indexedDBStore, memoryStore, newId };
export const isShown = (message) => !('deleted_at' in message) && !('hidden' in message);

/** What Node's entry puts in the place of what a browser has. */
export const platform = { WebSocket: globalThis.WebSocket };

const SEEN_MAX = 16_384;      // cursors by which an entry that comes again is known
const UNTRIED = 8_000;         // ms for a first CONNACK: there are proxies that swallow WebSockets
const STEADY = 10_000;        // ms online after which the next failure is a first one
const PROBES = [2_000, 10_000, 60_000, 300_000]; // when, on SSE, MQTT is tried again
const PAYLOAD_MAX = 64_000;   // characters; a PUBLISH beyond 256 KiB would end the connection: HTTP says no to the message alone
const REQUEST_MAX = 300_000;  // and a request beyond 1 MiB
const HEARTBEAT = 25_000;
const TYPING_EVERY = 3_000;
const TIMER_MAX = 2 ** 31 - 1;
const decoder = new TextDecoder();

const unfit = (detail) => new KithError({ type: '/problems/unfit-token', title: 'This token is of no use here', status: 400, detail });

/** A tab's own device, so that a reload finds its session. */
function deviceOfTab(anew) {
  try {
    const kept = !anew && sessionStorage.getItem('kith-device');
    if (kept) return kept;
    const made = `web-${newId()}`;
    sessionStorage.setItem('kith-device', made);
    return made;
  } catch {
    return `js-${newId()}`;
  }
}

const OWN = new Set(['state', 'entry', 'outbox', 'typing', 'presence', 'gap', 'error', 'counts']); // events that no type of an entry becomes
const singular = { stories: 'story' };

export class Kith extends Calls {
  user; device; state = 'closed'; transport = null;
  #o; #url; #events = new Events(); #outbox; #store; #ask; #tokens; #marks; #presence;
  #running; #want = false; #opened; #attempt; #sentOn = 0; #link; #wake = () => {}; #failures = 0; #onlineSince = 0; #elsewhere; #madeUp;
  #mqttWorked = false; #mqttFailures = 0; #probes = 0; #probe; #subscribed = false;
  #inbox = []; #draining = false; #seen = new Set(); #cursor; #hole = false; #saving; #met = false;
  #typed = new Map(); #loading;

  constructor(options) {
    super();
    this.#o = {
      transport: 'auto', sessionExpiry: 30 * 86_400, keepAlive: 60, receiveMaximum: 128, timeout: 20_000, ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)),
      reconnect: { base: 500, max: 30_000, ...options.reconnect },
      WebSocket: options.WebSocket ?? platform.WebSocket, fetch: options.fetch ?? ((...a) => globalThis.fetch(...a)),
    };
    this.#url = new URL(options.url ?? globalThis.location?.origin).href.replace(/\/$/, '');
    const claims = typeof options.token === 'string' ? claimsOf(options.token) : {};
    this.user = options.user ?? claims.sub ?? '';
    this.device = options.device ?? claims.dev ?? '';
    this.#madeUp = !this.device;
    if (this.#madeUp) this.device = deviceOfTab();
    this.#ask = { url: this.#url, fetch: this.#o.fetch, timeout: this.#o.timeout, token: (refused) => this.#tokens.now(refused) };
    this.#tokens = new Tokens(this.#o.token, () => ({ device: this.device }), (claims) => this.#learned(claims));
    this.#marks = new Marks({ tell: (c, marks) => this.#receipt(c, marks), online: () => this.state === 'online', failed: (e) => this.#events.emit('error', e) });
    const { presence } = this.#o, told = (p) => this.#events.emit('presence', p);
    this.#presence = presence ? new Presence(presence.every ?? HEARTBEAT, { say: (online) => this.presence(online), changed: told, me: () => this.user }) : undefined;
    this.#outbox = new Outbox({
      transmit: (m) => this.#transmit(m), changed: (m) => this.#events.emit('outbox', m), failed: (e) => this.#events.emit('error', e), backoff: (n) => this.#backoff(n),
    });
    if (this.user) this.#load().catch((e) => this.#events.emit('error', asKithError(e)));
  }

  on(event, handler) { return this.#events.on(event, handler); }
  once(event, handler) { return this.#events.once(event, handler); }
  off(event, handler) { this.#events.off(event, handler); }

  // ---- beginning and ending ----

  connect() {
    if (this.#want) return this.#opened.promise;
    this.#want = true;
    this.#opened = {};
    this.#opened.promise = new Promise((resolve, reject) => Object.assign(this.#opened, { resolve, reject }));
    this.#opened.promise.catch(() => {}); // who does not wait hears `state`
    this.#failures = 0;
    this.#tokens.taken();
    this.#watchNetwork(true);
    const before = this.#running;
    this.#running = (async () => { await before; await this.#run(); })();
    return this.#opened.promise;
  }

  async close() {
    if (this.#want) {
      if (this.#presence) this.presence(false);
      this.#want = false;
      this.#opened.reject(KithError.network('closed'));
      this.#attempt?.close();
      this.#wake();
    }
    await this.#running;
    this.#presence?.end();
    await this.#outbox.written();
    await this.#save();
  }

  ready() { return this.#load(); }

  /** Until close(), or what cannot be mended. */
  async #run() {
    while (this.#want) {
      let problem, wait = 0;
      try {
        if (this.state !== 'online' && this.state !== 'connecting') this.#is('connecting');
        problem = await this.#session();
      } catch (e) {
        problem = asKithError(e);
      }
      this.#outbox.run(false);
      if (!this.#want) break;
      const next = this.#judge(problem);
      if (next === 'end') { this.#end(problem); break; }
      if (next === 'now' && problem) this.#is('connecting', { error: problem });
      if (next === 'now') continue;
      wait = Math.max(problem.retryAfter ?? 0, this.#backoff(this.#failures++));
      this.#is('offline', { error: problem, retryIn: Math.round(wait) });
      await this.#sleep(wait);
    }
    this.#watchNetwork(false);
    this.#outbox.run(false);
    if (this.state !== 'closed') this.#is('closed');
  }

  #end(problem) {
    this.#want = false;
    this.#is('closed', { error: problem });
    this.#opened.reject(problem);
  }

  /** Full jitter: a random part of the base doubled at each failure. */
  #backoff(failures) {
    const { base, max } = this.#o.reconnect;
    return Math.random() * Math.min(max, base * 2 ** Math.min(failures, 20));
  }

  #sleep(ms) {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      this.#wake = () => { clearTimeout(timer); done(); };
    });
  }

  /** What the end of a link, or of an attempt, calls for: `now`, `later`, `end`. */
  #judge(problem) {
    if (problem === null) return 'now'; // ended by ourselves, to begin anew
    if (this.#onlineSince && Date.now() - this.#onlineSince > STEADY) this.#failures = 0;
    this.#onlineSince = 0;
    if (problem.code === 'taken-over') {
      if (!this.#madeUp || this.#tokens.given) return 'end'; // another one is this device now: to fight over it helps nobody
      this.device = deviceOfTab(true);          // a tab that was duplicated
      this.#tokens.forget();
      return 'now';
    }
    if (problem.code === 'unauthorized' || problem.reason === 0x87) return this.#tokens.refused();
    if (problem.code === 'gone') { // the cursor is of before what is kept
      this.#cursor = undefined;
      this.#events.emit('gap', { problem });
      return 'now';
    }
    if (problem.code === 'moved' && problem.reference) {
      this.#elsewhere = problem.reference;
      return this.#sentOn++ ? 'later' : 'now'; // two servers may send it to and fro
    }
    return problem.temporary || problem.code === 'ended' || problem.code === 'token' ? 'later' : 'end';
  }

  #watchNetwork(on) {
    const act = on ? 'addEventListener' : 'removeEventListener';
    globalThis[act]?.('online', this.#network);
    globalThis.document?.[act]('visibilitychange', this.#network);
  }
  #network = () => {
    if (globalThis.document?.visibilityState === 'hidden') return;
    this.#wake();
    this.#link?.probe();
  };

  #is(state, about = {}) {
    this.state = state;
    if (state !== 'online') this.transport = null;
    this.#events.emit('state', { state, transport: this.transport, ...about });
  }

  // ---- who it is ----

  /** What a new token says of whose it is. */
  #learned(claims) {
    if (claims.dev && claims.dev !== this.device && this.#madeUp) { // they know better, and it is the same when they are asked again
      this.device = claims.dev;
      this.#madeUp = false;
    }
    if (!this.user && claims.sub) this.user = claims.sub;
  }

  /** The store is the user's: it is read when it is known who that is. */
  #load() {
    return this.#loading ??= (async () => {
      if (!this.user) await this.#tokens.now();
      const name = `kith:${this.#url}:${this.user}`;
      this.#store = this.#o.store ?? (globalThis.indexedDB ? indexedDBStore(name) : memoryStore());
      const kept = Object.fromEntries(await this.#store.list('at:').catch((e) => {
        if (this.#o.store) throw e;
        this.#store = memoryStore(); // a browser that keeps nothing: a private window, a disk that is full
        this.#events.emit('error', asKithError(e));
        return [];
      }));
      this.#cursor ??= kept[`at:${this.device}`]?.cursor;
      this.#hole ||= kept[`at:${this.device}`]?.hole ?? false;
      await this.#marks.load(this.#store);
      this.#outbox.from(this.user);
      await this.#outbox.load(this.#store);
    })().catch((e) => { this.#loading = undefined; throw e; });
  }

  // ---- one session: from the token to the end of the link ----

  /** Online, then the problem that ended it; null where it was ended to begin anew. */
  async #session() {
    this.#link = null;
    const token = await this.#tokens.now();
    if (token.startsWith('kith_')) throw unfit('this is a server key; it belongs to backends, which get a device token for this client with it');
    await this.#load();
    if (!this.user) throw unfit('this token names no user: give the option `user`');
    let over;
    const ended = new Promise((done) => { over = done; });
    const end = (problem, reference) => over(Object.assign(problem, { reference }));
    const { link, present, from } = await this.#open(token, end);
    if (!this.#want) { link.close(); return null; }
    let renewed = false;
    const anew = () => { renewed = true; link.close(); };
    const renewal = setTimeout(() => this.#tokens.now().then(anew, () => {}), Math.min(TIMER_MAX, this.#tokens.left));
    try {
      await Promise.race([this.#begin(link, present, from), ended]);
      if (link.kind === 'sse' && this.#o.transport === 'auto') this.#probeMqtt(anew);
      const problem = await ended;
      return renewed ? null : problem;
    } catch (e) {
      link.close();
      throw e;
    } finally {
      clearTimeout(renewal);
      clearTimeout(this.#probe);
      this.#presence?.pause();
      this.#inbox = this.#inbox.filter((job) => job.link !== link); // it comes again
      if (!renewed) this.#met = true;
    }
  }

  async #open(token, end) {
    const { transport } = this.#o;
    const mqtt = transport === 'mqtt' || (transport === 'auto' && this.#o.WebSocket);
    let failure;
    if (mqtt) {
      try {
        return await this.#openMqtt(token, end);
      } catch (e) {
        // where it has worked, one failure is more likely a server that starts anew
        const sse = transport === 'auto' && (!this.#mqttWorked || this.#mqttFailures > 1);
        if (e.status !== 0 || !sse) throw e;
        failure = e;
      }
    }
    try {
      return await this.#openSse(token, end);
    } catch (e) {
      throw failure && e.status === 0 ? failure : e;
    }
  }

  async #openMqtt(token, end) {
    const target = new URL(this.#elsewhere ? `${new URL(this.#url).protocol}//${this.#elsewhere.replace(/^.*:\/\//, '')}` : this.#url);
    this.#elsewhere = undefined;
    target.protocol = target.protocol === 'https:' ? 'wss:' : 'ws:';
    const { WebSocket, keepAlive, sessionExpiry, receiveMaximum } = this.#o;
    const timeout = Math.min(this.#o.timeout, this.#mqttWorked ? Infinity : UNTRIED);
    const link = new MqttLink(
      { url: `${target.href.replace(/\/$/, '')}/mqtt`, WebSocket, clientId: this.device, user: this.user || 'device', password: token, keepAlive, sessionExpiry, receiveMaximum, timeout },
      { publish: (p) => this.#published(link, p), end });
    this.#attempt = link;
    try {
      const { present, properties } = await link.open();
      this.#mqttWorked = true;
      this.#mqttFailures = this.#probes = 0;
      return { link, present, from: properties.userProperties?.find(([name]) => name === 'kith-cursor')?.[1] };
    } catch (e) {
      if (this.#mqttWorked && e.status === 0) this.#mqttFailures++;
      throw e;
    }
  }

  async #openSse(token, end) {
    const link = new SseLink(
      { url: `${this.#url}/v1/users/${encodeURIComponent(this.user)}/stream`, token, after: this.#cursor, fetch: this.#o.fetch, timeout: this.#o.timeout },
      { event: (e) => this.#streamed(link, e), end });
    this.#attempt = link;
    const present = this.#cursor !== undefined, now = await link.open();
    if (!present && now) this.#reached(now);
    return { link, present };
  }

  /** The link is open: hear what comes, close what is missing, and be online. */
  async #begin(link, present, from) {
    this.#link = link;
    if (link.kind === 'mqtt') {
      if (!present && this.#cursor) this.#hole = true;
      if (!present && !this.#cursor && this.#met) this.#events.emit('gap', {});
      if (this.#hole) this.#inbox.unshift({ link, fill: true });
      if (!this.#cursor && from) this.#reached(from); // where a stream would go on
      if (!present || !this.#subscribed) {
        const [own] = await link.subscribe([[`users/${this.user}/#`, 1], ['conversations/+/typing', 0], ['users/+/presence', 0]]);
        if (own >= 0x80) throw KithError.reason(own, 'the server did not take the subscription to what reaches this user');
      }
      this.#subscribed = true;
    }
    this.#drain();
    this.#tokens.taken();
    this.#sentOn = 0;
    this.#onlineSince = Date.now();
    const quiet = this.state === 'online' && this.transport === link.kind;
    this.transport = link.kind;
    if (!quiet) this.#is('online', { resumed: present });
    this.#opened.resolve();
    this.#outbox.run(true);
    this.#marks.tell();
    this.#presence?.begin();
  }

  /** On SSE, MQTT is tried again now and then: by a WebSocket alone, so that the stream goes on meanwhile. */
  #probeMqtt(anew) {
    if (!this.#o.WebSocket) return;
    const wait = PROBES[Math.min(this.#probes++, PROBES.length - 1)];
    this.#probe = setTimeout(() => {
      let socket;
      const again = () => { // of Node's WebSocket comes an error alone
        if (socket) socket.onerror = socket.onclose = null;
        if (this.transport === 'sse') this.#probeMqtt(anew);
      };
      try { socket = new this.#o.WebSocket(`${this.#url.replace(/^http/, 'ws')}/mqtt`, 'mqtt'); } catch { return again(); }
      socket.onopen = () => { socket.onerror = socket.onclose = null; socket.close(); anew(); };
      socket.onerror = socket.onclose = again;
    }, wait * (1 + Math.random() / 4));
  }

  // ---- what comes ----

  #published(link, { topic, payload, packet }) {
    const done = () => link.acknowledge(packet);
    let item;
    try { item = JSON.parse(decoder.decode(payload)); } catch { return done(); }
    const [space, owner, kind] = topic.split('/');
    if (space === 'conversations' && kind === 'typing') return this.#events.emit('typing', { conversation: owner, from: item.from });
    if (kind === 'presence') return this.#heard(owner, item.online);
    if (kind === 'errors') return this.#errorTold(item, done);
    const { cursor, event, ...rest } = item;
    if (!cursor) return done();
    const type = singular[kind] ?? kind.replace(/s$/, '');
    this.#take({ link, entry: { cursor, at: new Date().toISOString(), type, event, [type]: rest }, done });
  }

  #errorTold(problem, done) {
    done();
    const error = new KithError(problem);
    this.#events.emit(error.code === 'gone' ? 'gap' : 'error', error.code === 'gone' ? { problem: error } : error);
  }

  #streamed(link, { event, data }) {
    let item;
    try { item = JSON.parse(data); } catch { return; }
    if (event === 'typing') this.#events.emit('typing', item);
    else if (event === 'presence') this.#heard(item.user, item.online);
    else if (item.cursor) this.#take({ link, entry: item, done: () => this.#deliveredBy(item) });
  }

  #take(job) {
    this.#inbox.push(job);
    this.#drain();
  }

  /** One after the other; without a promise nothing waits. Nothing of a link before #begin. */
  async #drain() {
    if (this.#draining) return;
    this.#draining = true;
    while (this.#inbox.length && this.#inbox[0].link === this.#link) {
      const job = this.#inbox.shift();
      if (job.fill) await this.#fill(job.link);
      else {
        const wait = this.#show(job.entry);
        if (wait) await wait;
        job.done?.();
      }
    }
    this.#draining = false;
  }

  #show(entry) {
    if (this.#seen.has(entry.cursor)) return undefined;
    this.#seen.add(entry.cursor);
    if (this.#seen.size > SEEN_MAX) this.#seen.delete(this.#seen.values().next().value);
    const m = entry.message;
    if (m && entry.event === 'created' && m.from === this.user) this.#outbox.seen(m.id, m.seq);
    if (entry.notification?.counts) this.#events.emit('counts', entry.notification.counts);
    const waits = [this.#events.emit('entry', entry), OWN.has(entry.type) ? undefined : this.#events.emit(entry.type, entry)].filter(Boolean);
    if (!waits.length) return this.#reached(entry.cursor);
    return Promise.all(waits).then(() => this.#reached(entry.cursor));
  }

  /** The server knew nothing of this device any more: what is missing stands in the mailbox. */
  async #fill(link) {
    for (let failures = 0; this.#want && this.#link === link;) {
      try {
        const { items, next } = await this.mailbox({ cursor: this.#cursor, limit: 200 });
        for (const entry of items) {
          const wait = this.#show(entry);
          if (wait) await wait;
          this.#deliveredBy(entry);
        }
        failures = 0;
        if (next) { this.#reached(next); continue; }
        this.#hole = false;
        return void this.#reached(this.#cursor);
      } catch (e) {
        if (!e.temporary && e.code !== 'unauthorized') { // past retention, most likely
          this.#hole = false;
          this.#cursor = undefined;
          this.#events.emit('gap', { problem: e });
          return;
        }
        await this.#sleep(this.#backoff(failures++));
      }
    }
  }

  #reached(cursor) {
    this.#cursor = cursor;
    this.#saving ??= setTimeout(() => this.#save(), 300);
  }

  #save() {
    if (!this.#saving) return undefined;
    clearTimeout(this.#saving);
    this.#saving = undefined;
    return this.#store?.set(`at:${this.device}`, { cursor: this.#cursor, hole: this.#hole }).catch((e) => this.#events.emit('error', asKithError(e)));
  }

  async *entries() {
    const waiting = [];
    let wake = () => {};
    const off = this.on('entry', (entry) => new Promise((done) => { waiting.push({ entry, done }); wake(); }));
    try {
      for (;;) {
        while (!waiting.length) await new Promise((go) => { wake = go; });
        const { entry, done } = waiting.shift();
        try { yield entry; } finally { done(); }
      }
    } finally {
      off();
      for (const { done } of waiting) done();
    }
  }

  // ---- what goes ----

  send(conversation, content) { return this.#outbox.add(conversation, this.user, typeof content === 'string' ? { body: content } : content); }
  stored(message) { return typeof message === 'string' ? this.#outbox.stored(message) : this.#outbox.stored(message.id, message.state === 'stored' ? message : undefined); }
  outbox(conversation) { return this.#outbox.list(conversation); }
  retry(id) { this.#outbox.retry(id); }
  discard(id) { this.#outbox.discard(id); }

  /** By MQTT where there is one; what that refuses, HTTP says why, in full. */
  async #transmit(message) {
    const content = contentOf(message), link = this.#link, payload = JSON.stringify(content);
    if (payload.length > REQUEST_MAX) throw new KithError({ type: '/problems/too-large', title: 'Too large', status: 413, detail: 'a message has at most 64 KiB' });
    if (link?.kind === 'mqtt' && payload.length < PAYLOAD_MAX) {
      try {
        return await link.publish(`conversations/${message.conversation}/messages`, payload);
      } catch (e) {
        if (e.reason === undefined || this.#link !== link) throw KithError.network(e.message, e);
        const full = await this.#post(message, content).catch((why) => why);
        if (full instanceof KithError) throw full.status ? full : e;
        return full;
      }
    }
    return this.#post(message, content);
  }

  #post(message, content) { return this.call('POST /v1/conversations/{id}/messages', { path: { id: message.conversation }, body: content }); }

  read(conversation, seq) { this.#marks.read(conversation, seq); }

  #receipt(conversation, marks) {
    if (this.#link?.kind === 'mqtt') return this.#link.publish(`conversations/${conversation}/receipts`, JSON.stringify(marks));
    return this.call('POST /v1/conversations/{id}/receipts', { path: { id: conversation }, body: marks });
  }

  #deliveredBy({ type, event, message }) {
    if (type === 'message' && event === 'created' && message?.seq && message.from !== this.user) this.#marks.delivered(message.conversation, message.seq);
  }

  typing(conversation) {
    const now = Date.now();
    if (this.state !== 'online' || !this.#link || now - (this.#typed.get(conversation) ?? 0) < TYPING_EVERY) return;
    this.#typed.set(conversation, now);
    if (this.#link.kind === 'mqtt') this.#link.say(`conversations/${conversation}/typing`, '{}');
    else this.call('POST /v1/conversations/{id}/typing', { path: { id: conversation } }).catch(() => {});
  }

  presence(online) {
    if (this.state !== 'online' || !this.#link) return; // none: it is online, and about to have another
    if (this.#link.kind === 'mqtt') this.#link.say(`users/${this.user}/presence`, JSON.stringify({ online }));
    else this.call('PUT /v1/users/{id}/presence', { path: { id: this.user }, body: { online } }).catch(() => {});
  }

  #heard(user, online) {
    if (this.#presence) this.#presence.heard(user, online);
    else this.#events.emit('presence', { user, online });
  }

  // ---- calls ----

  call(operation, ...args) {
    const at = operation.indexOf(' ');
    if (at > 0) {
      const [o = {}] = args;
      return call(this.#ask, operation.slice(0, at), pathOf(operation.slice(at + 1), o), o);
    }
    const [path, body, o = {}] = args;
    return call(this.#ask, operation, pathOf(path, { query: o.query }), { ...o, body });
  }
}
