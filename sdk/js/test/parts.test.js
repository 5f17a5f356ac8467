// The parts by themselves: ids, Server-Sent Events, stores, the outbox, HTTP with its tokens and patience. SPDX-License-Identifier: Apache-2.0
import test from 'node:test';
import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileStore, Kith, KithError, memoryStore, newId } from '../node.js';
import { EventParser } from '../src/sse-link.js';
import { call, pathOf } from '../src/http.js';
import { Outbox } from '../src/outbox.js';
import { Events } from '../src/events.js';
import { Inbox } from '../src/inbox.js';

const turn = (ms = 0) => new Promise((done) => setTimeout(done, ms));

test('ids are unique, sort as they were made, and are ids of kith', () => {
  const ids = Array.from({ length: 20_000 }, newId);
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual(ids.slice().sort(), ids);
  assert.ok(ids.every((id) => /^[A-Za-z0-9_.:-]{26}$/.test(id)));
});

test('events, however the text is cut', () => {
  const said = ': kith\n\nid: 1-a\nevent: message\ndata: {"a":1}\n\nevent: typing\ndata: x\ndata: y\n\n:\n\nid:2\r\ndata:z\r\n\r\nevent: nothing\n\ndata\n\n';
  const want = [{ id: '1-a', event: 'message', data: '{"a":1}' }, { id: '1-a', event: 'typing', data: 'x\ny' }, { id: '2', event: 'message', data: 'z' }, { id: '2', event: 'message', data: '' }];
  for (let n = 1; n <= said.length; n++) {
    const p = new EventParser(), got = [];
    for (let at = 0; at < said.length; at += n) got.push(...p.push(said.slice(at, at + n)));
    assert.deepEqual(got, want, `in pieces of ${n}`);
  }
});

async function keeps(make) {
  const s = make();
  await Promise.all([s.set('a:1', { x: 1 }), s.set('a:2', 'two'), s.set('b:1', 3)]);
  await s.delete('a:2');
  await s.delete('never');
  assert.deepEqual(await s.list('a:'), [['a:1', { x: 1 }]]);
  assert.deepEqual(await s.list('c'), []);
  const [[, value]] = await s.list('a:');
  value.x = 2;
  assert.deepEqual(await s.list('a:'), [['a:1', { x: 1 }]], 'what it gives is nobody else\'s');
}

test('the memory store', () => keeps(memoryStore));

test('the file store keeps over a restart, a line that was cut short, and many changes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kith-sdk-')), path = join(folder, 'deep', 'kept');
  try {
    await keeps(() => fileStore(path));
    const second = fileStore(path);
    assert.deepEqual(await second.list(''), [['a:1', { x: 1 }], ['b:1', 3]]);
    for (let i = 0; i < 3000; i++) second.set('n', i);
    await second.list('');
    assert.ok((await readFile(path, 'utf8')).split('\n').length < 1100, 'what says nothing any more is left away');
    await appendFile(path, '{"key":"torn","val');
    assert.deepEqual((await fileStore(path).list('n')), [['n', 2999]]);
    assert.deepEqual((await fileStore(path).list('torn')), []);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('paths and queries', () => {
  assert.equal(pathOf('/v1/c/{id}/r/{emoji}', { path: { id: 'a b', emoji: '👍/' }, query: { limit: 5, cursor: undefined } }), '/v1/c/a%20b/r/%F0%9F%91%8D%2F?limit=5');
  assert.throws(() => pathOf('/v1/{id}', {}), /needs id/);
});

/** A `fetch` that gives these answers, one after the other, and remembers what it was asked. */
function answering(...answers) {
  const asked = [];
  return Object.assign(async (url, o) => {
    asked.push({ url, ...o });
    const [status, body, headers] = answers.shift();
    return new Response(body === undefined ? null : JSON.stringify(body), { status, headers: { 'content-type': status < 400 ? 'application/json' : 'application/problem+json', ...headers } });
  }, { asked });
}
const asking = (fetch, token = () => 't') => ({ url: 'http://k', fetch, timeout: 1000, token });

test('a problem is a KithError with all that it says', async () => {
  const fetch = answering([422, { type: '/problems/invalid-value', title: 'A value cannot be', status: 422, detail: 'too long', field: 'name' }]);
  const e = await call(asking(fetch), 'PUT', '/v1/x', { body: { a: 1 } }).catch((problem) => problem);
  assert.ok(e instanceof KithError);
  assert.deepEqual([e.code, e.status, e.field, e.detail, e.temporary, e.message], ['invalid-value', 422, 'name', 'too long', false, 'too long']);
  assert.deepEqual([fetch.asked[0].method, fetch.asked[0].body, fetch.asked[0].headers.authorization], ['PUT', '{"a":1}', 'Bearer t']);
});

test('401 is asked again once, with a newer token', async () => {
  const fetch = answering([401, {}], [200, { ok: 1 }]), tokens = ['old', 'new'];
  assert.deepEqual(await call(asking(fetch, (refused) => (refused === 'old' ? tokens[1] : tokens[0])), 'GET', '/v1/x'), { ok: 1 });
  assert.deepEqual(fetch.asked.map((a) => a.headers.authorization), ['Bearer old', 'Bearer new']);
  const stubborn = answering([401, {}], [401, {}]);
  await assert.rejects(call(asking(stubborn, (refused) => (refused ? 'b' : 'a')), 'GET', '/v1/x'), { status: 401 });
});

test('Retry-After is waited for, three times at most, and not for long', async () => {
  const fetch = answering([429, {}, { 'retry-after': '1' }], [503, {}, { 'retry-after': '1' }], [200, 1]), began = Date.now();
  assert.equal(await call(asking(fetch), 'GET', '/v1/x'), 1);
  assert.ok(Date.now() - began >= 2000);
  await assert.rejects(call(asking(answering([429, {}, { 'retry-after': '60' }])), 'GET', '/v1/x'), { status: 429, retryAfter: 60_000, temporary: true });
  await assert.rejects(call(asking(answering([503, {}])), 'GET', '/v1/x'), { status: 503 });
});

test('what does not answer is a problem too', async () => {
  await assert.rejects(call(asking(async () => { throw new TypeError('no route'); }), 'GET', '/v1/x'), { code: 'network', temporary: true });
  const silent = (_, { signal }) => new Promise((_done, fail) => signal.addEventListener('abort', () => fail(signal.reason)));
  await assert.rejects(call({ ...asking(silent), timeout: 30 }, 'GET', '/v1/x'), { code: 'timeout' });
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 10);
  await assert.rejects(call(asking(silent), 'GET', '/v1/x', { signal: stop.signal }), { name: 'AbortError' });
});

/** An outbox over a server that does as `answer(message, tries)` says. */
async function outbox(answer, store = memoryStore()) {
  const sent = [], states = [], tries = new Map();
  const box = new Outbox({
    async transmit(m) { sent.push(`${m.conversation}:${m.body}`); tries.set(m.id, (tries.get(m.id) ?? 0) + 1); await turn(1); return answer(m, tries.get(m.id)); },
    changed: (m) => states.push(`${m.body} ${m.state}`), failed: (e) => { throw e; }, backoff: () => 1,
  });
  await box.load(store);
  return { box, sent, states, store };
}
const refusal = (status) => { throw new KithError({ type: '/problems/x', status }); };

test('the outbox sends in order in each conversation, and again until it is stored', async () => {
  const { box, sent, store } = await outbox((m, tries) => (tries < (m.body === 'b' ? 4 : 1) ? refusal(503) : {}));
  const made = ['a', 'b', 'c'].map((body) => box.add('one', 'ann', { body }));
  box.add('two', 'ann', { body: 'x' });
  assert.deepEqual(made.map((m) => m.state), ['queued', 'queued', 'queued']);
  await turn(10);
  assert.deepEqual(sent, [], 'nothing goes out offline');
  box.run(true);
  await Promise.all(made.map((m) => box.stored(m.id)));
  assert.deepEqual(sent.filter((s) => s.startsWith('one')), ['one:a', 'one:b', 'one:b', 'one:b', 'one:b', 'one:c']);
  assert.ok(sent.indexOf('two:x') < 3, 'another conversation does not wait');
  await box.written();
  assert.deepEqual([box.list(), await store.list('')], [[], []]);
});

test('what is refused stays, says why, lets the next go, and can be sent again or discarded', async () => {
  let strict = true;
  const { box, sent, states, store } = await outbox((m) => (strict && m.body !== 'c' ? refusal(403) : { seq: 7 }));
  box.run(true);
  const [a, b, c] = ['a', 'b', 'c'].map((body) => box.add('one', 'ann', { body }));
  assert.equal((await box.stored(c.id)).seq, 7);
  await assert.rejects(box.stored(a.id), { status: 403 });
  assert.deepEqual(box.list('one').map((m) => [m.body, m.state, m.problem.status]), [['a', 'refused', 403], ['b', 'refused', 403]]);
  await box.written();
  const again = await outbox(() => ({}), store);
  assert.deepEqual(again.box.list().map((m) => [m.id, m.state, m.problem.status]), [[a.id, 'refused', 403], [b.id, 'refused', 403]], 'also after a reload');
  strict = false;
  box.discard(b.id);
  box.retry(a.id);
  await box.stored(a.id);
  assert.deepEqual([sent, box.list()], [['one:a', 'one:b', 'one:c', 'one:a'], []]);
  assert.deepEqual(states.filter((s) => s.startsWith('a')), ['a sent', 'a refused', 'a queued', 'a sent', 'a stored']);
});

test('what was queued before a reload goes out before what came after, under its id', async () => {
  const first = await outbox(() => ({}));
  const old = ['1', '2', '3'].map((body) => first.box.add('one', 'ann', { body }));
  await first.box.written();
  const sent = [];
  const second = new Outbox({ transmit: async (m) => void sent.push(m.id), changed() {}, failed() {}, backoff: () => 1 });
  const early = second.add('one', 'ann', { body: '4' }); // before the store was read
  second.run(true);
  await second.load(first.store);
  await second.stored(early.id);
  assert.deepEqual(sent, [...old.map((m) => m.id), early.id]);
});

test('an entry that comes before its acknowledgement is one', async () => {
  let go;
  const { box, states } = await outbox(() => new Promise((done) => { go = done; }));
  box.run(true);
  const m = box.add('one', 'ann', { body: 'a' });
  await turn(10);
  box.seen(m.id, 3);
  assert.equal((await box.stored(m.id, { ...m, seq: 3 })).seq, 3);
  go({});
  await turn(5);
  assert.deepEqual(states, ['a sent', 'a stored']);
});

test('handlers: one that fails harms no other, and a promise is waited for', async () => {
  const e = new Events(), heard = [], thrown = [];
  globalThis.reportError = (error) => thrown.push(error.message); // a browser's
  try {
    e.on('x', () => { throw new Error('mine'); });
    e.on('x', (v) => void heard.push(v));
    e.once('x', async (v) => { await turn(5); heard.push(`late ${v}`); });
    await e.emit('x', 1);
    assert.equal(e.emit('x', 2), undefined);
    await turn();
    assert.deepEqual([heard, thrown], [[1, 'late 1', 2], ['mine', 'mine']]);
  } finally {
    delete globalThis.reportError;
  }
});

test('without a server: connect waits, says why, and close ends it', async () => {
  const kith = new Kith({ url: 'http://127.0.0.1:9', user: 'ann', token: 'x', device: 'd', reconnect: { base: 5, max: 20 } }), states = [];
  kith.on('state', (s) => states.push(s));
  const connecting = kith.connect();
  kith.send('c', 'kept');
  for (let i = 0; i < 300 && states.filter((s) => s.state === 'offline').length < 2; i++) await turn(10);
  await Promise.all([assert.rejects(connecting, { code: 'network' }), kith.close()]);
  assert.ok(states.filter((s) => s.state === 'offline').length >= 2);
  assert.equal(states.find((s) => s.state === 'offline').error.code, 'network');
  assert.equal(states.at(-1).state, 'closed');
  assert.deepEqual(kith.outbox().map((m) => [m.body, m.state]), [['kept', 'queued']]);
});

test('an inbox is what the server would list, whatever comes in whatever order', async () => {
  const events = new Events(), at = (s) => `2026-01-02T03:04:${String(s).padStart(2, '0')}.000Z`, counts = (unseen) => ({ unseen, unread: unseen });
  const n = (id, s, more) => ({ id, trigger: id, workflow: 'w', created_at: at(s), title: id, body: '', ...more });
  let answer, asked = 0;
  const kith = { on: (event, handler) => events.on(event, handler), notifications: async () => { asked++; await turn(); return answer; }, mark: async () => ({ counts: counts(0) }) };
  const tell = (notification) => events.emit('notification', { at: at(30), event: 'updated', notification: { counts: counts(1), ...notification } });
  answer = { items: [n('b', 2), n('a', 1)], next: 'older', counts: counts(2) };
  const inbox = new Inbox(kith), ids = () => inbox.items.map((x) => x.id).join('');
  tell(n('c', 3)); // while the page is on its way
  await inbox.load();
  assert.equal(ids(), 'cba');
  tell(n('a', 1, { updated_at: at(4), actors: { count: 2, newest: ['x', 'y'] } }));
  assert.equal(ids(), 'acb', 'who joins brings the group to the top');
  tell(n('a', 1));
  assert.equal(ids(), 'acb', 'what came before comes again');
  tell(n('d', 5, { replaces: 'c' }));
  assert.equal(ids(), 'dab');
  tell(n('old', 0));
  assert.equal(ids(), 'dab', 'what is older than what was asked for is not there yet');
  tell({ marked: 'clicked', ids: ['a'] });
  assert.deepEqual(inbox.items.map((x) => [x.seen_at, x.read_at, x.clicked_at].filter(Boolean).length), [0, 3, 0]);
  tell({ marked: 'seen', ids: [], upto: 'a' });
  assert.deepEqual(inbox.items.map((x) => Boolean(x.seen_at)), [false, true, true]);
  tell({ id: 'a', reason: 'withdrawn', more: ['b'] });
  assert.equal(ids(), 'd', 'several may go together');
  answer = { items: [n('f', 7)], next: null, counts: counts(1) };
  const before = asked;
  events.emit('gap', {});
  await turn(5);
  assert.deepEqual([ids(), asked - before, inbox.more], ['f', 1, false]);
  const marked = inbox.mark('archived', 'f');
  assert.equal(ids(), '', 'shown at once');
  await marked;
  assert.equal(inbox.counts.unseen, 0);
  inbox.close();
  tell(n('g', 8));
  assert.equal(ids(), '');
});
