// The console: the key, the views, and one look at the server a second while somebody sees it.
// SPDX-License-Identifier: Apache-2.0
import { h, say } from './dom.js';
import { get, key, Refused } from './api.js';
import { Past } from './past.js';
import { Board } from './chart.js';
import { span } from './format.js';
import { flow } from './flow.js';
import { connections, limits, memory, partitions } from './server.js';
import { doctor, slow } from './doctor.js';
import { find } from './find.js';
import { notify } from './notify.js';

const VIEWS = [
  ['flow', 'Flow', flow], ['connections', 'Connections', connections], ['partitions', 'Partitions', partitions], ['memory', 'Disk and memory', memory],
  ['limits', 'Limits', limits], ['notify', 'Notifications', notify], ['slow', 'Slow', slow], ['doctor', 'Doctor', doctor], ['find', 'Look up', find],
];
const SPANS = [[300000, '5 min'], [900000, '15 min'], [3600000, '1 h']];
const EVERY_MS = 1000;
const LATE_MS = 8000;

const by = (id) => document.getElementById(id);
const main = by('view');
const nav = by('nav');
const past = new Past();
const board = new Board(past);
const app = { past, board, now: null, go };
let view = null;
let timer = 0;
let asking = null;
let under = false; // a look is under way

/* ---- colours ---- */
const THEMES = { '': 'Auto', light: 'Light', dark: 'Dark' };
function themed(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  say(by('theme'), THEMES[theme]);
  by('theme').setAttribute('aria-label', `Colours: ${THEMES[theme].toLowerCase()}`);
  board.recolour();
}
function themeBegin() {
  let theme = '';
  try {
    theme = localStorage.getItem('kith-theme') ?? '';
  } catch { /* no storage: the system's */ }
  themed(theme in THEMES ? theme : '');
  by('theme').addEventListener('click', () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? '') + 1) % names.length];
    try {
      if (next) localStorage.setItem('kith-theme', next);
      else localStorage.removeItem('kith-theme');
    } catch { /* for this page only */ }
    themed(next);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => board.recolour());
}

/* ---- which view ---- */
function parts() {
  return location.hash.slice(1).split('/').map((p) => {
    try {
      return decodeURIComponent(p);
    } catch {
      return p;
    }
  });
}

/** Goes there; false: it is there already. */
function go(hash) {
  if (location.hash === `#${hash}`) return false;
  location.hash = hash;
  return true;
}

function spansOf() {
  return h('fieldset', { class: 'choice spans' }, h('legend', { class: 'sr' }, 'Span of the charts'), SPANS.map(([ms, name]) =>
    h('label', {}, h('input', { type: 'radio', name: 'span', value: ms, checked: ms === board.span, onchange: () => board.setSpan(ms) }), h('span', {}, name))));
}

function show() {
  if (!key.get()) return ask();
  const [name, ...rest] = parts();
  const [id, title, make] = VIEWS.find(([v]) => v === name) ?? VIEWS[0];
  const moved = view?.id !== id;
  view?.close();
  view = { id, ...make(app, rest) };
  board.setCross(null);
  main.replaceChildren(...[view.spans ? spansOf() : null, view.element].filter(Boolean));
  document.title = `${title} · kith console`;
  for (const a of nav.querySelectorAll('a')) {
    if (a.hash === `#${id}`) {
      a.setAttribute('aria-current', 'page');
      a.scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
    } else a.removeAttribute('aria-current');
  }
  if (moved) scrollTo(0, 0);
  if (app.now) view.update?.(app.now);
  view.focus?.focus();
  return undefined;
}

/* ---- the key ---- */
function ask(why) {
  view?.close();
  view = null;
  clearTimeout(timer);
  document.body.classList.add('out'); // what is for later has its place already
  live('off', 'not connected');
  say(by('server'), '');
  document.title = 'kith console';
  const input = h('input', { id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'key-why' });
  const said = h('p', { id: 'key-why', class: 'why', role: 'alert' }, why ?? '');
  main.replaceChildren(h('form', { class: 'ask panel', onsubmit: async (e) => {
    e.preventDefault();
    key.set(input.value.trim());
    try {
      await look();
    } catch (problem) {
      key.forget();
      say(said, reason(problem));
      input.select();
      return;
    }
    begin();
  } }, h('h1', {}, 'Console'), h('p', {}, 'Paste a server key with the scope ', h('code', {}, 'operate'), '. It stays in this tab until you close it.'),
    h('label', { class: 'field', for: 'key' }, 'Server key', input), said, h('button', { type: 'submit', class: 'strong' }, 'Open'),
    h('p', { class: 'muted' }, 'To make one: ', h('code', {}, 'kith key create --data DIR --name console --app APP --scope operate'))));
  input.focus();
}

function reason(e) {
  if (!(e instanceof Refused)) return 'The server cannot be reached.';
  if (e.status === 401) return 'This is not a key of this server.';
  return e.status === 403 ? 'This key lacks the scope operate.' : e.message;
}

/* ---- one look a second ---- */
function live(state, words) {
  by('live').dataset.state = state;
  say(by('live-words'), words);
}

async function look() {
  asking = new AbortController();
  const late = setTimeout(() => asking.abort(), LATE_MS);
  try {
    const now = await get(`/v1/flow?since=${past.last}`, asking.signal);
    const other = app.now && app.now.started_at !== now.started_at; // another run: its points have the same numbers
    if (other && past.last) past.clear();
    else past.take(now.history);
    app.now = now;
    live('on', 'live');
    say(by('server'), `${now.version}, up ${span((Date.parse(now.at) - Date.parse(now.started_at)) / 1000)}`);
  } finally {
    clearTimeout(late);
  }
}

async function turn() {
  clearTimeout(timer);
  if (!key.get() || document.hidden || under) return undefined;
  under = true;
  try {
    await look();
    view?.update?.(app.now);
    board.changed();
  } catch (e) {
    if (e instanceof Refused && (e.status === 401 || e.status === 403)) {
      key.forget();
      return ask(reason(e));
    }
    live('lost', e instanceof Refused ? `the server answered ${e.status}` : 'the server cannot be reached; trying again');
  } finally {
    under = false;
  }
  clearTimeout(timer);
  timer = setTimeout(turn, EVERY_MS);
  return undefined;
}

function begin() {
  document.body.classList.remove('out');
  show();
  turn();
}

/* ---- start ---- */
nav.append(...VIEWS.map(([id, title]) => h('a', { href: `#${id}` }, title)));
by('leave').addEventListener('click', () => {
  key.forget();
  past.clear();
  app.now = null;
  ask();
});
addEventListener('hashchange', show);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) turn();
});
themeBegin();
if (key.get()) begin();
else ask();
