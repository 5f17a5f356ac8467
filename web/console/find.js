// Look up: where is this message, how far are this user's devices, who has read this conversation. Ids and times only: no content is asked for.
// SPDX-License-Identifier: Apache-2.0
import { h, property, say } from './dom.js';
import { get, part, Refused } from './api.js';
import { count, date, millis } from './format.js';

const KINDS = { item: ['Message', 'id of a message'], user: ['User', 'id of a user'], conversation: ['Conversation', 'id of a conversation'] };
const FOLLOWS_MS = 2000;

const link = (kind, id, query = '') => h('a', { href: `#find/${kind}/${part(id)}${query}` }, id);
const facts = (list) => h('dl', { class: 'facts' }, list.filter(Boolean).map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v))));
const badge = (state, words) => h('span', { class: `badge ${state}` }, words ?? state);

/* ---- an item's journey ---- */
// What a segment that ends with the stage was spent on.
const SPENT = {
  appended: ['s1', 'came in, waited for its turn'], relay: ['s5', 'relay: to the member’s partition'], durable: ['s2', 'log: written and synced'],
  applied: ['s3', 'applied'], written: ['s4', 'answered, or written to devices'],
};
const STATES = {
  read: 'read', acknowledged: 'acknowledged', sent: 'sent, not acknowledged', waiting: 'waiting', offline: 'offline: waits in the mailbox', held: 'held',
};

/** A round step for some five marks up to `most` milliseconds. */
function stepOf(most) {
  const raw = most / 5;
  const base = 10 ** Math.floor(Math.log10(raw));
  return base * [1, 2, 5, 10].find((k) => base * k >= raw);
}

function axisOf(journey) {
  let most = 0.1;
  const see = (ms) => {
    if (ms > most) most = ms;
  };
  for (const stage of journey.stages) see(stage.after_ms);
  for (const r of journey.recipients) for (const stage of r.stages) see(stage.after_ms);
  // what devices say later, when it is not long after: else it is named beside the line
  const near = most * 1.6;
  for (const r of journey.recipients) for (const d of r.devices) for (const ms of [d.written_after_ms, d.acked_after_ms]) if (ms <= near) see(ms);
  return most * 1.04;
}

function place(node, from, to, most) {
  property(node, 'left', `${(100 * from) / most}%`);
  property(node, 'width', `${(100 * Math.max(0, to - from)) / most}%`);
  return node;
}

/** Segments between stages that follow each other. `began`: when the first is counted from. */
function segments(stages, most, began = 0) {
  const out = [];
  const relayed = stages[0]?.stage === 'relayed';
  let from = began;
  for (const { stage, after_ms } of stages) {
    const [colour, words] = SPENT[relayed && stage === 'appended' ? 'relay' : stage] ?? ['s1', stage];
    if (stage !== 'came' && after_ms > from) out.push(place(h('i', { class: `seg ${colour}`, title: `${words}: ${millis(after_ms - from)}` }), from, after_ms, most));
    from = Math.max(from, after_ms);
  }
  return out;
}

/** Its ends said in words too, for who does not see the line. */
const told = (stages, named = {}) => stages.filter((x) => x.stage !== 'came').map((x) => h('span', {}, `${named[x.stage] ?? x.stage} `, h('b', {}, millis(x.after_ms))));

function line(label, track, words, kind = '') {
  return h('li', { class: `line ${kind}` }, h('div', { class: 'who' }, label), h('div', { class: 'track' }, track), h('div', { class: 'told' }, words));
}

function mark(ms, most, kind, words) {
  const late = ms > most;
  const node = h('i', { class: `mark ${kind}${late ? ' late' : ''}`, title: words });
  property(node, 'left', `${(100 * Math.min(ms, most)) / most}%`);
  return node;
}

function device(d, most) {
  const track = [];
  const words = [];
  if (d.written_after_ms !== undefined) {
    track.push(mark(d.written_after_ms, most, 'sent', `written ${millis(d.written_after_ms)}`));
    words.push(h('span', {}, 'written ', h('b', {}, millis(d.written_after_ms))));
  }
  if (d.acked_after_ms !== undefined) {
    if (d.written_after_ms !== undefined && d.written_after_ms < most)
      track.unshift(place(h('i', { class: 'wait' }), d.written_after_ms, Math.min(d.acked_after_ms, most), most));
    track.push(mark(d.acked_after_ms, most, 'acked', `acknowledged ${millis(d.acked_after_ms)}`));
    words.push(h('span', {}, 'acknowledged ', h('b', {}, millis(d.acked_after_ms))));
  }
  if (!words.length) words.push(h('span', { class: 'muted' }, d.state === 'acknowledged' ? 'times are not kept any more' : STATES[d.state] ?? d.state));
  return line(h('span', { class: 'device' }, d.device, ' ', badge(d.state)), track, words, 'sub');
}

function recipient(r, most) {
  const began = r.stages.length ? r.stages[0].after_ms : 0;
  // nobody was there to write it to: then that turn's end says nothing
  const stages = r.devices.some((d) => d.written_after_ms !== undefined) ? r.stages : r.stages.filter((x) => x.stage !== 'written');
  const head = line([link('user', r.user), ' ', badge(r.state)], segments(stages, most, began),
    stages.length ? told(stages) : h('span', { class: 'muted' }, r.held ?? STATES[r.state] ?? r.state));
  const held = r.held && h('li', { class: 'line held' }, h('div', {}), h('p', { class: 'why' }, 'Held: ', r.held));
  return [head, held, r.devices.map((d) => device(d, most))];
}

function axis(most) {
  const step = stepOf(most);
  const ticks = [];
  for (let t = 0; t <= most; t += step) {
    const tick = h('span', { class: 'tick' }, t ? millis(t) : '0');
    property(tick, 'left', `${(100 * t) / most}%`);
    ticks.push(tick);
  }
  return h('li', { class: 'line axis', 'aria-hidden': 'true' }, h('div', { class: 'who muted' }, 'after it came'), h('div', { class: 'track' }, ticks), h('div'));
}

/** Where it is, in one sentence. */
function summary(j) {
  const n = { read: 0, acknowledged: 0, sent: 0, waiting: 0, offline: 0, held: 0 };
  for (const r of j.recipients) n[r.state] = (n[r.state] ?? 0) + 1;
  const parts = [];
  if (n.read) parts.push(`read by ${n.read}`);
  if (n.acknowledged) parts.push(`on a device of ${n.acknowledged}`);
  if (n.sent) parts.push(`sent to ${n.sent} who ${n.sent === 1 ? 'has' : 'have'} not acknowledged it`);
  if (n.waiting) parts.push(`waiting for ${n.waiting}`);
  if (n.offline) parts.push(`kept for ${n.offline} who ${n.offline === 1 ? 'is' : 'are'} offline`);
  if (n.held) parts.push(`held back from ${n.held}`);
  const shown = j.recipients.length;
  return `Stored${parts.length ? `; ${parts.join('; ')}` : ''}${j.members - 1 > shown ? ` (of the ${shown} shown, of ${count(j.members - 1)})` : ''}.`;
}

function journey(j) {
  const most = axisOf(j);
  const legend = ['appended', 'durable', 'applied', 'written', 'relay'].map((k) => h('span', { class: 'key' }, h('i', { class: `swatch ${SPENT[k][0]}` }), SPENT[k][1]));
  return [
    h('p', { class: 'lead' }, summary(j)),
    facts([['Message', j.id], ['Conversation', link('conversation', j.conversation)], ['Number', count(j.seq)], ['From', j.from ? link('user', j.from) : '–'],
      ['Came', date(j.created_at)], ['Members', count(j.members)], j.gone && ['State', 'deleted or expired'], ['Slow', j.slow ? 'yes' : 'no']]),
    h('section', { class: 'panel pad' }, h('h2', {}, 'Its journey'),
      h('ol', { class: 'journey' }, axis(most),
        line(h('b', {}, 'accepted'), segments(j.stages, most), j.stages.length ? told(j.stages, { written: 'answered' }) : h('span', { class: 'muted' }, 'times are not kept any more')),
        j.recipients.map((r) => recipient(r, most))),
      h('p', { class: 'legend muted' }, legend, h('span', { class: 'key' }, h('i', { class: 'mark sent' }), 'a device was written to'), h('span', { class: 'key' }, h('i', { class: 'mark acked' }), 'it acknowledged'))),
  ];
}

/* ---- a user ---- */
async function allOf(path, most) {
  const items = [];
  let next = '';
  do {
    const page = await get(`${path}${path.includes('?') ? '&' : '?'}limit=200${next ? `&cursor=${part(next)}` : ''}`);
    items.push(...page.items);
    next = page.next;
  } while (next && items.length < most);
  return items;
}

/** How much of what is kept a position has behind it. */
function reach(at, first, last) {
  const bar = h('i', { class: 'meter' });
  const share = last < first ? 1 : Math.max(0, Math.min(1, (at - first + 1) / (last - first + 1)));
  property(bar, 'width', `${100 * share}%`);
  return h('span', { class: 'gauge' }, bar);
}

function speaks(d) {
  return d.connected ? { mqtt3: 'MQTT 3.1.1', mqtt5: 'MQTT 5', sse: 'SSE' }[d.protocol] ?? d.protocol : '–';
}

function sessionRow(d, mailbox, push) {
  return h('tr', {}, h('th', { scope: 'row' }, d.device || h('span', { class: 'muted' }, 'a stream')),
    h('td', {}, d.connected ? badge('connected') : badge('offline', d.left_at ? `away since ${date(d.left_at)}` : 'away')), h('td', {}, speaks(d)),
    h('td', { class: 'n' }, count(d.acknowledged)), h('td', { class: 'bar' }, reach(d.acknowledged, mailbox.first_kept, mailbox.last)),
    h('td', { class: 'n' }, d.waiting >= 1000 ? '1,000 or more' : count(d.waiting)), h('td', { class: 'n' }, count(d.unacknowledged)), h('td', { class: 'n' }, count(d.subscriptions)),
    h('td', {}, push === undefined ? '–' : push ? 'yes' : 'no'));
}

async function user(id) {
  const [state, devices] = await Promise.all([get(`/v1/users/${part(id)}/sessions`), allOf(`/v1/users/${part(id)}/devices`, 1000)]);
  const push = new Map(devices.map((d) => [d.id, d.push]));
  const without = devices.filter((d) => !state.items.some((x) => x.device === d.id));
  const on = state.items.filter((d) => d.connected).length;
  return [
    h('p', { class: 'lead' }, on ? `${on} ${on === 1 ? 'device is' : 'devices are'} connected.` : 'No device is connected.',
      state.items.some((d) => d.waiting) ? ' Something waits for at least one device.' : state.items.length ? ' Every device has all there is.' : ''),
    facts([['User', id], ['Partition', count(state.mailbox.partition)], ['Mailbox from', count(state.mailbox.first_kept)], ['to', count(state.mailbox.last)], ['Sessions', count(state.items.length)]]),
    h('div', { class: 'scroll panel', tabindex: '0', role: 'region', 'aria-label': 'Devices' }, h('table', {}, h('caption', {}, h('span', {}, 'Devices and their cursors into the mailbox')),
      h('thead', {}, h('tr', {}, ['Device', 'State', 'Speaks'].map((x) => h('th', { scope: 'col' }, x)), h('th', { scope: 'col', class: 'n' }, 'Acknowledged'), h('th', { class: 'bar', scope: 'col' }, h('span', { class: 'sr' }, 'drawn')),
        ['Waiting', 'Unacknowledged', 'Subscriptions'].map((x) => h('th', { scope: 'col', class: 'n' }, x)), h('th', { scope: 'col' }, 'Push'))),
      h('tbody', {}, state.items.map((d) => sessionRow(d, state.mailbox, push.get(d.device))),
        without.map((d) => h('tr', {}, h('th', { scope: 'row' }, d.id), h('td', {}, badge('offline', 'no session')), h('td', { colspan: '6', class: 'muted' }, 'known, and nothing waits for it in particular'), h('td', {}, d.push ? 'yes' : 'no'))),
        !state.items.length && !without.length && h('tr', {}, h('td', { colspan: '9', class: 'muted' }, 'No device of theirs is known.'))))),
  ];
}

/* ---- a conversation ---- */
async function conversation(id) {
  const marks = await allOf(`/v1/conversations/${part(id)}/receipts`, 1000);
  const top = Math.max(1, ...marks.map((m) => Math.max(m.delivered, m.read)));
  const gauge = (v) => {
    const bar = h('i', { class: 'meter' });
    property(bar, 'width', `${(100 * v) / top}%`);
    return h('td', { class: 'bar' }, h('span', { class: 'gauge' }, bar));
  };
  return [
    h('p', { class: 'lead' }, `${count(marks.length)}${marks.length >= 1000 ? ' and more' : ''} members; read up to number ${count(Math.max(0, ...marks.map((m) => m.read)))}, delivered up to ${count(Math.max(0, ...marks.map((m) => m.delivered)))}.`),
    h('div', { class: 'scroll panel', tabindex: '0', role: 'region', 'aria-label': 'Receipts' }, h('table', {}, h('caption', {}, h('span', {}, 'How far each member is')),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'User'), h('th', { scope: 'col', class: 'n' }, 'Delivered'), h('th', { class: 'bar', scope: 'col' }, h('span', { class: 'sr' }, 'drawn')), h('th', { scope: 'col', class: 'n' }, 'Read'), h('th', { class: 'bar', scope: 'col' }, h('span', { class: 'sr' }, 'drawn')))),
      h('tbody', {}, marks.map((m) => h('tr', {}, h('th', { scope: 'row' }, link('user', m.user)), h('td', { class: 'n' }, count(m.delivered)), gauge(m.delivered), h('td', { class: 'n' }, count(m.read)), gauge(m.read)))))),
  ];
}

/* ---- the view ---- */
async function look(kind, id, of) {
  if (kind === 'user') return user(id);
  if (kind === 'conversation') return conversation(id);
  return journey(await get(`/v1/items/${part(id)}/journey${of ? `?conversation=${part(of)}` : ''}`));
}

function missing(kind, e) {
  if (e.status === 404 && kind === 'item') return e.code === 'not-found' && /conversation/.test(e.message) ? `${e.message}` : 'There is no such message in this key’s app.';
  return e.status === 404 ? `There is no such ${kind} in this key’s app.` : e.message;
}

export function find({ go }, [kind = 'item', id = '', of = '']) {
  const input = h('input', { id: 'find-id', name: 'id', value: id, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', required: true });
  const inside = h('input', { id: 'find-of', name: 'of', value: of, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', placeholder: 'of an older message' });
  const insideBox = h('label', { class: 'field', for: 'find-of' }, 'Conversation', inside);
  const choice = h('fieldset', { class: 'choice' }, h('legend', { class: 'sr' }, 'What'), Object.entries(KINDS).map(([k, [name]]) =>
    h('label', {}, h('input', { type: 'radio', name: 'kind', value: k, checked: k === kind }), h('span', {}, name))));
  const label = h('span', {});
  const out = h('div', { class: 'found', 'aria-live': 'polite' });
  const chosen = () => choice.querySelector('input:checked').value;
  const named = () => {
    say(label, KINDS[chosen()][1].replace(/^./, (c) => c.toUpperCase()));
    insideBox.hidden = chosen() !== 'item';
  };
  choice.addEventListener('change', () => {
    named();
    input.focus();
  });
  named();
  const form = h('form', { class: 'find panel pad', role: 'search', onsubmit: (e) => {
    e.preventDefault();
    const hash = `find/${chosen()}/${part(input.value.trim())}${chosen() === 'item' && inside.value.trim() ? `/${part(inside.value.trim())}` : ''}`;
    if (!go(hash)) show();
  } }, choice, h('label', { class: 'field wide', for: 'find-id' }, label, input), insideBox, h('button', { type: 'submit', class: 'strong' }, 'Look up'));
  let had = '';
  let timer = 0;
  let closed = false;
  async function show(follows) {
    clearTimeout(timer);
    if (!id || closed) return;
    try {
      const found = document.hidden && follows ? null : await look(kind, id, of);
      if (closed) return;
      const text = found?.map((n) => n.textContent).join('');
      if (found && text !== had) {
        had = text;
        out.replaceChildren(...found.flat());
      }
    } catch (e) {
      if (closed) return;
      if (e instanceof Refused) {
        had = '';
        out.replaceChildren(h('p', { class: 'lead nothing' }, missing(kind, e)));
        return;
      }
    }
    timer = setTimeout(() => show(true), FOLLOWS_MS);
  }
  if (!id) out.append(h('p', { class: 'muted hint' }, 'Where is my message: its way through the stages, and who has it. A user: each device, connected or away, and what waits for it. A conversation: who has received and read how far. Of the app of your key; contents are not shown.'));
  show();
  return {
    element: h('div', {}, h('h1', { class: 'sr' }, 'Look up'), form, out),
    focus: id ? null : input,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
