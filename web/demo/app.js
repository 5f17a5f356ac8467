// The demo's window: who is shown, what to try, the menu and dialogs that all phones share, and the journey below. SPDX-License-Identifier: Apache-2.0
import { h, icon, say } from '/demo/dom.js';
import { Journey } from '/demo/journey.js';
import { Pane } from '/demo/pane.js';
import { Person } from '/demo/person.js';

const PHONE = 350, GAP = 14, MARGIN = 40; // px: the least width of a phone, what is between and beside them
const ONE_AT_A_TIME = matchMedia('(max-width: 720px)');
const PEOPLE = [['ann', 'Ann', 165, 'ann-bob'], ['bob', 'Bob', 255, 'ann-bob'], ['cid', 'Cid', 60, null], ['dee', 'Dee', 330, null], ['eli', 'Eli', 205, null]];
const WIDEST = { 1: 860, 2: 680 };  // px, of a phone when there are so many
const TABS = 12;
const STEPS = ['Write to Bob as Ann', 'Cut Bob’s connection', 'Write to him again', 'Let him come back'];
const $ = (id) => document.getElementById(id);

/** This tab's device: of a few that the browser has, the first that no other tab is. A new one for each tab would soon be more devices than a user may have. */
async function deviceOf() {
  let browser = localStorage.getItem('kith-demo-browser');
  if (!browser) localStorage.setItem('kith-demo-browser', browser = crypto.randomUUID().slice(0, 8));
  for (let tab = 1; tab <= TABS; tab++) {
    const name = `demo-${browser}-${tab}`;
    const mine = await new Promise((known) => { navigator.locks.request(name, { ifAvailable: true }, (lock) => { known(lock !== null); return lock && new Promise(() => {}); }); });
    if (mine) return name;
  }
  return undefined; // one that the client makes up
}

const device = await deviceOf().catch(() => undefined);
const people = new Map(PEOPLE.map(([id, name, hue]) => [id, new Person({ id, name, hue, device })]));
const shown = new Set();
const waiting = new Map(); // person: ids of what was stored for them since their connection was cut
const journey = new Journey($('road'), people);

const app = {
  isShown: (id) => shown.has(id),
  waitingFor: (id) => waiting.get(id)?.size ?? 0,
  follow: (person, m) => m && journey.follow(m, true),
  menu, compose, tell: (words) => tell(words),
};
const panes = new Map([...people].map(([id, person]) => [id, new Pane(person, people, app)]));

// ---- who is shown ----

const chips = new Map([...people].map(([id, p]) => [id, h('button', { class: 'chip', type: 'button', onclick: () => pick(id), style: { '--h': p.hue, '--own': `oklch(60% .1 ${p.hue})` } },
  h('span', { class: 'spot', 'aria-hidden': 'true' }, h('span', { class: 'face', style: { '--h': p.hue }, 'data-letter': p.name.slice(0, 1) }), h('span', { class: 'badge' })), h('b', {}, p.name))]));

const room = () => (ONE_AT_A_TIME.matches ? 1 : Math.max(1, Math.min(people.size, Math.floor((innerWidth - MARGIN + GAP) / (PHONE + GAP)))));
let wished = null; // by the chips; none: as many as there is room for

function pick(id) {
  const now = [...people.keys()].filter((p) => shown.has(p));
  if (room() === 1) wished = [id];
  else if (shown.has(id)) wished = now.length > 1 ? now.filter((p) => p !== id) : now;
  else wished = [...now.slice(0, room() - 1), id];
  layout();
  if (room() > 1 && shown.has(id)) panes.get(id).focus();
}

function layout() {
  const most = room(), set = (wished ?? [...people.keys()]).slice(0, most);
  shown.clear();
  for (const id of people.keys()) if (set.includes(id)) shown.add(id);
  const phones = $('phones'), want = [...shown].map((id) => panes.get(id).root);
  for (const e of [...phones.children]) if (!want.includes(e)) e.remove();
  want.forEach((e, i) => { if (phones.children[i] !== e) phones.insertBefore(e, phones.children[i] ?? null); });
  phones.style.setProperty('--n', shown.size);
  phones.style.setProperty('--w', `${WIDEST[shown.size] ?? 520}px`);
  drawChips();
  for (const id of shown) panes.get(id).draw();
}

function drawChips() {
  for (const [id, chip] of chips) {
    const p = people.get(id), n = p.unread();
    chip.setAttribute('aria-pressed', String(shown.has(id)));
    chip.setAttribute('aria-label', `${p.name}, ${p.cut ? 'offline' : p.state}${n ? `, ${n} unread` : ''}`);
    chip.title = p.name;
    chip.querySelector('.face').classList.toggle('on', p.state === 'online');
    chip.querySelector('.badge').dataset.n = n && !shown.has(id) ? n : ''; // as a picture, not as words: those are its label
  }
}

// ---- what to try ----

const done = new Set();
function drawSteps() {
  const next = STEPS.findIndex((_, i) => !done.has(i));
  [...$('steps').children].forEach((li, i) => {
    li.className = done.has(i) ? 'done' : i === next ? 'next' : '';
    if (i === next) li.setAttribute('aria-current', 'step');
    else li.removeAttribute('aria-current');
  });
  if (next < 0 && !$('steps').dataset.all) {
    $('steps').dataset.all = 'true';
    setTimeout(() => {
      $('steps').replaceChildren(h('li', { class: 'next' }, h('span', {}, 'Nothing was lost. Now try a group, a reaction, a reply; or another phone')));
    }, 1500);
  }
}
function step(i) {
  if (done.has(i) || (i > 1 && !done.has(i - 1))) return;
  done.add(i);
  drawSteps();
}

// ---- what happens ----

let hush;
/** To who listens instead of looking: the last thing, when there is quiet. */
function tell(words) {
  clearTimeout(hush);
  hush = setTimeout(() => say($('said'), words), 250);
}

function happened({ detail: { what, person, conversation, message, sent } }) {
  const c = conversation && person.conversations.get(conversation);
  if (what === 'state' && person.state === 'online' && !document.documentElement.dataset.ready) document.documentElement.dataset.ready = Math.round(performance.now());
  if (what === 'cut') {
    tell(`${person.name} is ${person.cut ? 'offline' : 'coming back'}`);
    if (person.cut) waiting.set(person.id, new Set());
    if (person.cut && person.id === 'bob') step(1);
    journey.again();
  }
  if (what === 'caught-up') {
    tell(`${person.name} is online${person.came ? `, ${person.came} new` : ''}`);
    waiting.delete(person.id);
    if (person.came) step(3);
  }
  if (sent?.state === 'stored' && c) stored(person, c, sent);
  if (message && c) {
    waitsFor(c, message);
    if (!person.catchingUp) journey.newer(message);
  }
  if (message && message.from !== person.id && shown.has(person.id) && !panes.get(person.id).root.contains(document.activeElement)) tell(`${person.name} has a message of ${people.get(message.from)?.name ?? message.from}: ${message.body ?? ''}`);
  if (what === 'marks') journey.again(conversation);
  drawChips();
  if (what === 'messages') for (const id of waiting.keys()) panes.get(id).draw();
}

/** Whoever sent it: one of these people, another tab, the application. */
function waitsFor(c, m) {
  for (const user of c.members) if (user !== m.from && people.get(user)?.cut) waiting.get(user)?.add(m.id);
}

function stored(person, c, m) {
  waitsFor(c, m);
  journey.newer(m);
  if (person.id === 'ann') step(0);
  if (c.members.includes('bob') && people.get('bob').cut && person.id !== 'bob') step(2);
}

// ---- what all phones share ----

/** A menu at a message: rows of emoji (an array), and items {words, key, icon, act, off, danger}. */
function menu(at, entries, hue) {
  const close = (back) => { box.hidePopover(); if (back) at.focus({ preventScroll: true }); };
  const run = (act) => () => { close(true); act(); };
  const box = h('div', { class: 'menu', popover: 'auto', role: 'menu', 'aria-label': 'What to do with this message', style: { '--h': hue } }, entries.map((entry) => (Array.isArray(entry)
    ? h('div', { class: 'emoji', role: 'group', 'aria-label': 'React' }, entry.map((e) => h('button', { type: 'button', role: 'menuitemcheckbox', 'aria-checked': String(Boolean(e.on)), tabindex: '-1', disabled: e.off, 'aria-label': `React with ${e.emoji}`, onclick: run(e.act) }, e.emoji)))
    : h('button', { class: `item ${entry.danger ? 'danger' : ''}`, type: 'button', role: 'menuitem', tabindex: '-1', disabled: entry.off, onclick: run(entry.act) }, icon(entry.icon), h('span', {}, entry.words), h('kbd', {}, entry.key)))));
  box.addEventListener('toggle', (e) => { if (e.newState === 'closed') box.remove(); });
  box.addEventListener('keydown', (e) => {
    const all = [...box.querySelectorAll('button:enabled')], i = all.indexOf(document.activeElement), row = all.filter((b) => b.closest('.emoji')).length;
    const go = { ArrowRight: all[i + 1], ArrowLeft: all[i - 1], ArrowDown: all[i < row ? row : i + 1], ArrowUp: all[i > row ? i - 1 : i === row ? 0 : i], Home: all[0], End: all.at(-1) }[e.key];
    if (e.key === 'Escape' || e.key === 'Tab') { e.preventDefault(); e.stopPropagation(); close(true); }
    else if (go) { e.preventDefault(); go.focus(); }
  });
  at.closest('.phone').append(box);
  box.showPopover();
  const a = at.getBoundingClientRect(), b = box.getBoundingClientRect(), phone = at.closest('.phone').getBoundingClientRect();
  const left = at.closest('.own') ? a.right - b.width : a.left, below = a.bottom + 6 + b.height < innerHeight - 8;
  box.style.left = `${Math.max(Math.max(8, phone.left + 6), Math.min(left, Math.min(innerWidth - 8, phone.right - 6) - b.width))}px`;
  box.style.top = `${Math.max(8, below ? a.bottom + 6 : a.top - 6 - b.height)}px`;
  box.querySelector('button:enabled')?.focus();
}

/** Asks with whom; one other: a direct conversation, more: a group with a name. */
function compose(person, begun) {
  const others = [...people.values()].filter((p) => p !== person);
  const name = h('input', { type: 'text', placeholder: 'Name of the group', 'aria-label': 'Name of the group', maxlength: '60' });
  const row = h('div', { class: 'name off' }, name);
  const picked = () => [...box.querySelectorAll('input[type=checkbox]:checked')].map((e) => e.value);
  const box = h('dialog', { 'aria-labelledby': 'compose' }, h('form', { method: 'dialog', onsubmit: (e) => { e.preventDefault(); go(); } },
    h('h2', { id: 'compose' }, 'New conversation'), h('p', {}, `${person.name} talks with one of them, or with several as a group.`),
    h('fieldset', { onchange: () => { const group = picked().length > 1; row.classList.toggle('off', !group); name.disabled = !group; } }, h('legend', { class: 'hidden' }, 'With whom'),
      others.map((p) => h('label', { class: 'pick' }, h('span', { class: 'face', style: { '--h': p.hue }, 'aria-hidden': 'true' }, p.name.slice(0, 1)), h('span', {}, p.name), h('input', { type: 'checkbox', value: p.id })))),
    row, h('menu', {}, h('button', { type: 'button', onclick: () => box.close() }, 'Cancel'), h('button', { type: 'submit', class: 'go' }, 'Begin'))));
  name.disabled = true;
  async function go() {
    const users = picked();
    if (!users.length) return box.querySelector('input[type=checkbox]').focus();
    const id = await person.converse(users, name.value.trim() || [person, ...users.map((u) => people.get(u))].map((p) => p.name).join(', '));
    box.close();
    if (id) begun(id);
    return undefined;
  }
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
  box.querySelector('input').focus();
}

// ---- light and dark ----

const THEMES = { auto: ['auto', 'As the system'], light: ['sun', 'Light'], dark: ['moon', 'Dark'] };
function theme(next) {
  const names = Object.keys(THEMES), root = document.documentElement, now = root.dataset.theme ?? 'auto', to = next ? names[(names.indexOf(now) + 1) % names.length] : now;
  if (to === 'auto') delete root.dataset.theme;
  else root.dataset.theme = to;
  try {
    if (to === 'auto') localStorage.removeItem('kith-theme');
    else localStorage.setItem('kith-theme', to);
  } catch { /* for this page only, then */ }
  const [sign, words] = THEMES[to];
  $('theme').replaceChildren(icon(sign));
  $('theme').setAttribute('aria-label', `Colours: ${words}`);
  $('theme').title = `Colours: ${words}`;
}

// ---- begin ----

$('theme').addEventListener('click', () => theme(true));
theme(false);
$('chips').append(...chips.values());
$('steps').append(...STEPS.map((words, i) => h('li', {}, h('i', { 'aria-hidden': 'true' }, h('b', {}, String(i + 1)), icon('check')), h('span', {}, words))));
drawSteps();
addEventListener('resize', layout);
addEventListener('visibilitychange', () => { for (const id of shown) panes.get(id).draw(); });
addEventListener('keydown', (e) => { // F6 goes from phone to phone
  if (e.key !== 'F6') return;
  const all = [...shown], at = all.findIndex((id) => panes.get(id).root.contains(document.activeElement));
  e.preventDefault();
  panes.get(all[(at + (e.shiftKey ? all.length - 1 : 1) + (at < 0 && e.shiftKey ? 1 : 0)) % all.length]).focus();
});
for (const p of people.values()) p.addEventListener('change', happened);
layout();
for (const [id, , , first] of PEOPLE) {
  people.get(id).start().then(() => {
    if (first && people.get(id).conversations.has(first) && panes.get(id).shown === null && (panes.get(id).wide || !ONE_AT_A_TIME.matches)) panes.get(id).open(first, false);
    if (id === 'ann') {
      const last = people.get('ann').conversations.get('ann-bob')?.last;
      if (last) journey.follow(last, false);
    }
  }).catch(() => panes.get(id).draw());
}
