// The slowest requests of the last minutes, each with its cause; and whether server and machine are well.
// SPDX-License-Identifier: Apache-2.0
import { h, property, say } from './dom.js';
import { get, part } from './api.js';
import { count, date, millis, time } from './format.js';

const SLOW_MS = 5000;
const DOCTOR_MS = 10000;
const SHOWN = 50;
const WHAT = { message: 'message', request: 'request over HTTP', connect: 'device connecting', device: 'device that reads slowly' };
const PATH = { stored: 'until its sender knew that it was safe', delivered: 'until devices had it', mailbox: 'until it waited in the mailbox', answered: 'until it was answered' };
// What a part of the time was spent on, and its colour: those of a journey.
const SPENT = {
  wait: ['s1', 'waited for its shard'], durable: ['s2', 'log'], apply: ['s3', 'apply'], before: ['s1', 'until it was on its way'], hop: ['s5', 'relay'],
  hop_durable: ['s2', 'members’ log'], hop_apply: ['s3', 'members’ apply'], write: ['s4', 'write'],
};

/** Reads a path now and then while it is shown and the page is seen; what came goes to `take`. */
function reader(path, every, take, fail) {
  let timer = 0;
  let closed = false;
  async function read() {
    clearTimeout(timer);
    if (closed) return;
    try {
      if (!document.hidden) {
        const answer = await get(path);
        if (!closed) take(answer);
      }
    } catch (e) {
      if (!closed) fail(e);
    }
    if (!closed) timer = setTimeout(read, every);
  }
  read();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}

const words = (name) => name.replaceAll(/[_-]/g, ' ');

function value(v) {
  if (v === null || v === undefined) return '–';
  return typeof v === 'object' ? JSON.stringify(v) : typeof v === 'number' ? (Number.isInteger(v) ? count(v) : v.toFixed(2)) : String(v);
}

/** Figures of a server that knows more each version: shown as they are named. */
function evidence(of) {
  const list = Object.entries(of ?? {});
  return list.length ? h('dl', { class: 'facts small' }, list.map(([k, v]) => h('div', {}, h('dt', {}, words(k)), h('dd', {}, k.endsWith('_ms') && typeof v === 'number' ? millis(v) : value(v))))) : null;
}

const spent = (stage) => SPENT[stage]?.[1] ?? words(stage);

/** One for each message and way: it is as slow for many members by one and the same cause. The slowest stands for all. */
function together(items) {
  const found = new Map();
  for (const one of items) {
    const key = one.id ? `${one.what} ${one.conversation} ${one.id} ${one.path}` : `${one.what} ${one.at} ${found.size}`;
    const first = found.get(key);
    if (first) first.times++;
    else found.set(key, { ...one, key, times: 1 });
  }
  return [...found.values()];
}

function bar(stages, took) {
  const sum = Math.max(took, stages.reduce((n, x) => n + x.ms, 0)) || 1;
  const pieces = stages.map((x) => {
    const piece = h('i', { class: SPENT[x.stage]?.[0] ?? 'c6', title: `${spent(x.stage)}: ${millis(x.ms)}` });
    property(piece, 'flex-grow', String(x.ms / sum));
    return piece;
  });
  return h('div', { class: 'stack', 'aria-hidden': 'true' }, pieces);
}

function slowOne(one) {
  const worst = one.stages.reduce((a, b) => (b.ms > (a?.ms ?? -1) ? b : a), null);
  const id = one.id && one.what === 'message' ? h('a', { href: `#find/item/${part(one.id)}${one.conversation ? `/${part(one.conversation)}` : ''}` }, one.id) : one.id;
  return h('li', { class: 'slow panel', 'data-cause': one.cause?.code, 'data-key': one.key },
    h('div', { class: 'took' }, millis(one.took_ms)),
    h('div', { class: 'middle' },
      h('p', { class: 'cause' }, one.cause?.words ?? 'The cause is not known.'),
      h('p', { class: 'muted words' }, [WHAT[one.what] ?? one.what, id && [' ', id], one.conversation && [' in ', h('a', { href: `#find/conversation/${part(one.conversation)}` }, one.conversation)],
        !one.app && ' of another app', `, ${time(Date.parse(one.at))}, ${PATH[one.path] ?? one.path}`, one.times > 1 && `; so for ${count(one.times)} recipients`]),
      bar(one.stages, one.took_ms),
      h('p', { class: 'muted words' }, one.stages.filter((x) => x.ms >= one.took_ms / 100).map((x) => h('span', { class: x === worst ? 'part most' : 'part' }, `${spent(x.stage)} `, h('b', {}, millis(x.ms)), ' '))),
      (one.cause?.do || one.cause?.evidence) && h('details', {}, h('summary', {}, 'What to do, and the evidence'), one.cause.do && h('p', {}, one.cause.do), evidence(one.cause.evidence))));
}

export function slow() {
  const lead = h('p', { class: 'lead', role: 'status' }, 'Reading…');
  const causes = h('div', { class: 'tiles' });
  const list = h('ol', { class: 'slows', 'aria-label': 'Slowest first' });
  let had = '';
  const close = reader('/v1/slow', SLOW_MS, (answer) => {
    const items = together(answer.items);
    const text = JSON.stringify(items);
    if (text === had) return;
    had = text;
    const open = new Set([...list.querySelectorAll('details[open]')].map((d) => d.closest('li').dataset.key));
    say(lead, items.length ? `${count(answer.slow ?? items.length)} ${(answer.slow ?? items.length) === 1 ? 'was' : 'were'} slow since ${date(answer.since)}; the slowest first.` : 'Nothing was slow in the last ten minutes.');
    causes.replaceChildren(...answer.causes.map((c) => h('div', { class: 'tile panel' }, h('span', { class: 'label' }, words(c.code)), h('span', { class: 'number' }, count(c.count)))));
    list.replaceChildren(...items.slice(0, SHOWN).map((one) => {
      const node = slowOne(one);
      if (open.has(node.dataset.key)) node.querySelector('details')?.setAttribute('open', '');
      return node;
    }));
  }, (e) => say(lead, `The list could not be read: ${e.message}`));
  return { element: h('div', {}, h('h1', { class: 'sr' }, 'Slow requests'), lead, causes, list), close };
}

const MARKS = { ok: '✓', warning: '!', critical: '✕' };

function checkOne(c) {
  return h('li', { class: `check ${c.status}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, MARKS[c.status] ?? '·'),
    h('div', {}, h('h2', {}, words(c.check), h('span', { class: 'sr' }, `: ${c.status}`)), h('p', {}, c.words), c.do && h('p', { class: 'do' }, c.do),
      c.evidence && Object.keys(c.evidence).length ? h('details', {}, h('summary', {}, 'Evidence'), evidence(c.evidence)) : null));
}

export function doctor() {
  const banner = h('div', { class: 'banner panel', role: 'status' }, h('span', { class: 'sign', 'aria-hidden': 'true' }, '…'), h('p', {}, 'Asking…'));
  const causes = h('ul', { class: 'causes' });
  const checks = h('ul', { class: 'checks' });
  const section = h('section', { class: 'panel pad', hidden: true }, h('h2', {}, 'Why requests were slow in the last ten minutes'), causes);
  const order = { critical: 0, warning: 1, ok: 2 };
  let had = '';
  const close = reader('/v1/doctor', DOCTOR_MS, (answer) => {
    const text = JSON.stringify(answer);
    if (text === had) return;
    had = text;
    banner.className = `banner panel ${answer.status}`;
    banner.replaceChildren(h('span', { class: 'sign', 'aria-hidden': 'true' }, MARKS[answer.status] ?? '·'), h('p', {}, answer.words));
    section.hidden = !answer.causes?.length;
    causes.replaceChildren(...(answer.causes ?? []).map((c) => h('li', {}, h('b', {}, `${count(c.count)} × `), c.words ?? words(c.code))));
    checks.replaceChildren(...[...answer.checks].sort((a, b) => (order[a.status] ?? 3) - (order[b.status] ?? 3)).map(checkOne));
  }, (e) => {
    banner.className = 'banner panel warning';
    had = '';
    banner.replaceChildren(h('span', { class: 'sign', 'aria-hidden': 'true' }, '!'), h('p', {}, `The doctor did not answer: ${e.message}`));
  });
  return { element: h('div', {}, h('h1', { class: 'sr' }, 'Doctor'), banner, section, h('section', { class: 'panel pad' }, checks)), close };
}
