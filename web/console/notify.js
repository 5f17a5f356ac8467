// Notifications: triggers through each decision, live; what left by each channel; what was given up, and sent again; why a person did or did not get one.
// Ids, numbers and reasons only: no content is asked for.
// SPDX-License-Identifier: Apache-2.0
import { h, property, say } from './dom.js';
import { Chart, Spark } from './chart.js';
import { get, part, post, Refused } from './api.js';
import { count, date } from './format.js';

const SPARK_MS = 300000;
// What may become of a notification for one person. `of`: what its bar is a share of.
const DECIDED = [
  ['In inboxes', 'good', [['delivered', 'each in their inbox'], ['merged', 'stored once for an audience, merged when read'], ['grouped', 'joined one that was there']]],
  ['Waits', 'warn', [['held', 'quiet hours, a pause, a digest'], ['digested', 'for a digest'], ['unlikely', 'less likely to be opened']]],
  ['Goes no further', 'bad', [['opted_out', 'they want none of it'], ['capped', 'the workflow’s cap was reached'], ['blocked', 'they block the actor'], ['muted', 'they mute the actor'],
    ['expired', 'it was too late'], ['collapsed', 'a newer one took its place'], ['cancelled', 'taken back, or read elsewhere']]],
  ['Looked at', 'cool', [['seen', 'came before their eyes'], ['read', ''], ['clicked', ''], ['archived', '']]],
];
const CHANNELS = [['In-app', ['delivered', 'merged'], null], ['Push', ['pushed'], 'push_failed'], ['Mail', ['mailed'], 'mail_failed'], ['Webhook', ['hooked'], 'hook_failed']];
const HEADS = [['triggers', 'Triggers', 'taken, of all apps'], ['recipients', 'People', 'that they were for'], ['reached', 'In inboxes', 'at once, or merged when read'], ['waits', 'Waits', 'for quiet hours to end, a digest'], ['stopped', 'Goes no further', 'opted out, capped, blocked, too late']];
const words = (name) => name.replaceAll('_', ' ').replace(/^./, (c) => c.toUpperCase());

/* ---- the flow ---- */
function head(board, [id, title, about], columns) {
  const rate = h('span', { class: 'rate' }, '–');
  const total = h('dd', {}, '–');
  const spark = new Spark(board, { title, span: 120000, height: 30, series: columns.map((column, i) => ({ name: column, column: `notify_${column}_per_s`, colour: `c${i % 5 + 1}`, fill: columns.length === 1 })) });
  const node = h('li', { class: 'stage panel', 'data-notify': id }, h('h2', {}, title), h('p', { class: 'muted words' }, about), h('p', { class: 'big' }, rate, h('span', { class: 'muted' }, ' /s')),
    h('dl', { class: 'figures' }, h('div', {}, h('dt', {}, 'since the start'), total)), spark.element);
  return { id, columns, node, rate, total, spark };
}

function outcome(board, [name, about], mood) {
  const rate = h('td', { class: 'n' }), total = h('td', { class: 'n' }), meter = h('i', { class: `meter ${mood}` });
  const spark = new Spark(board, { title: name, span: SPARK_MS, height: 24, series: [{ name, column: `notify_${name}_per_s`, colour: 'c1', fill: true }] });
  const node = h('tr', { 'data-outcome': name }, h('th', { scope: 'row' }, words(name), about && h('span', { class: 'muted about' }, about)), rate, total, h('td', { class: 'bar' }, h('span', { class: 'gauge' }, meter)),
    h('td', { class: 'sparkline' }, spark.element));
  return { name, node, rate, total, meter, spark };
}

function flowOf(board, past) {
  const named = (i) => DECIDED[i][2].map(([name]) => name);
  const of = { reached: ['delivered', 'merged'], waits: ['held'], stopped: named(2) };
  const heads = HEADS.map((one) => head(board, one, of[one[0]] ?? [one[0]]));
  const groups = DECIDED.map(([title, mood, list]) => ({ title, list: list.map((one) => outcome(board, one, mood)) }));
  const channels = CHANNELS.map(([title, out, failed]) => ({ title, out, failed, cells: Array.from({ length: 3 }, () => h('td', { class: 'n' })) }));
  const chart = new Chart(board, { title: 'People a second', format: count, least: 10, series: [
    { name: 'for', column: 'notify_recipients_per_s', colour: 'c1', fill: true }, { name: 'in inboxes', column: 'notify_delivered_per_s', colour: 'c2' },
    { name: 'merged', column: 'notify_merged_per_s', colour: 'c3' }, { name: 'wait', column: 'notify_held_per_s', colour: 'c5' }, { name: 'given up', column: 'notify_failed_per_s', colour: 'c4' }] });
  const rate = (names) => names.reduce((n, name) => n + (past.newest(`notify_${name}_per_s`) || 0), 0);
  const node = [
    h('ol', { class: 'road', 'aria-label': 'Notifications on their way' }, heads.map((x) => x.node)),
    h('div', { class: 'two decided' },
      h('div', { class: 'scroll panel', tabindex: '0', role: 'region', 'aria-label': 'Decisions' }, h('table', {}, h('caption', {}, h('span', {}, 'What was decided, by person')),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Decision'), h('th', { scope: 'col', class: 'n' }, 'A second'), h('th', { scope: 'col', class: 'n' }, 'Since the start'), h('th', { scope: 'col', class: 'bar' }, 'Of all people'),
          h('th', { scope: 'col', class: 'sparkline' }, 'Five minutes'))),
        groups.map((g) => h('tbody', {}, h('tr', { class: 'group' }, h('th', { scope: 'rowgroup', colspan: '5' }, g.title)), g.list.map((x) => x.node))))),
      h('div', {}, h('div', { class: 'scroll panel', tabindex: '0', role: 'region', 'aria-label': 'Channels' }, h('table', {}, h('caption', {}, h('span', {}, 'By channel, since the start')),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Channel'), ['A second', 'Taken', 'Given up'].map((x) => h('th', { scope: 'col', class: 'n' }, x)))),
        h('tbody', {}, channels.map((x) => h('tr', { 'data-channel': x.title }, h('th', { scope: 'row' }, x.title), x.cells))))), chart.element)),
  ];
  return {
    node,
    update(now) {
      const total = Object.fromEntries(now.notifications.map((n) => [n.outcome, n.count])), sum = (names) => names.reduce((n, name) => n + (total[name] ?? 0), 0);
      for (const x of heads) {
        const moves = rate(x.columns);
        say(x.rate, count(moves));
        say(x.total, count(sum(x.columns)));
        x.node.classList.toggle('idle', !moves);
        property(x.node, '--pace', `${(4 / (1 + Math.log10(1 + moves))).toFixed(1)}s`);
      }
      for (const x of groups.flatMap((g) => g.list)) {
        say(x.rate, count(rate([x.name])));
        say(x.total, count(total[x.name] ?? 0));
        property(x.meter, 'width', `${Math.min(100, total.recipients ? (100 * (total[x.name] ?? 0)) / total.recipients : 0)}%`);
      }
      for (const { out, failed, cells } of channels) [count(rate(out)), count(sum(out)), failed ? count(total[failed] ?? 0) : '–'].forEach((text, i) => say(cells[i], text));
    },
    close() { chart.close(); for (const x of [...heads, ...groups.flatMap((g) => g.list)]) x.spark.close(); },
  };
}

/* ---- what was given up ---- */
function letters() {
  const body = h('tbody'), said = h('p', { class: 'muted', role: 'status' });
  let next = '', closed = false;
  const more = h('button', { type: 'button', onclick: () => page(false) }, 'More');
  async function again(one, tr, button) {
    button.disabled = true;
    try {
      await post(`/v1/dead-letters/${part(one.id)}/retry`);
      tr.remove();
      say(said, `${one.id} is on its way again.`);
      bare();
    } catch (e) {
      button.disabled = false;
      say(said, `It was not sent again: ${e.message}`);
    }
  }
  const bare = () => { if (!body.children.length) body.append(h('tr', {}, h('td', { colspan: '8', class: 'muted' }, 'Nothing was given up.'))); };
  const letter = (one) => {
    const button = h('button', { type: 'button' }, 'Send again');
    const tr = h('tr', {}, h('td', {}, date(one.failed_at)), h('td', {}, words(one.channel)), h('td', {}, one.user ? h('a', { href: `#find/user/${part(one.user)}` }, one.user) : one.message ? h('a', { href: `#find/item/${part(one.message)}/${part(one.conversation)}` }, one.message) : '–'), h('td', {}, one.device ?? one.webhook ?? '–'),
      h('td', { class: 'words' }, one.reason, one.provider && h('span', { class: 'muted' }, ` (${one.provider})`)), h('td', { class: 'n' }, count(one.attempts)),
      h('td', {}, one.trigger ? h('a', { href: `#notify/${part(one.trigger)}/${part(one.user)}` }, 'why') : one.event ?? '–'), h('td', {}, button));
    button.addEventListener('click', () => again(one, tr, button));
    return tr;
  };
  async function page(anew) {
    if (anew) next = '';
    if (next === null || closed) return;
    try {
      const answer = await get(`/v1/dead-letters?limit=50${next ? `&cursor=${part(next)}` : ''}`);
      if (anew) body.replaceChildren();
      body.append(...answer.items.map(letter));
      next = answer.next;
      more.hidden = next === null;
      bare();
      say(said, 'Of this key’s app, newest first.');
    } catch (e) {
      say(said, `The list could not be read: ${e.message}`);
    }
  }
  more.hidden = true;
  page(true);
  return {
    node: [h('div', { class: 'scroll panel letters', tabindex: '0', role: 'region', 'aria-label': 'Dead letters' }, h('table', {}, h('caption', {}, h('span', {}, 'Dead letters: what nobody took')),
      h('thead', {}, h('tr', {}, ['Given up', 'Channel', 'User', 'To', 'Reason'].map((x) => h('th', { scope: 'col' }, x)), h('th', { scope: 'col', class: 'n' }, 'Tries'), h('th', { scope: 'col' }, 'Trigger'), h('th', { scope: 'col' }, h('span', { class: 'sr' }, 'Act')))), body)),
    h('p', { class: 'under' }, h('button', { type: 'button', onclick: () => page(true) }, 'Read again'), more, said)],
    close() { closed = true; },
  };
}

/* ---- why ---- */
const MOODS = { delivered: 'read', grouped: 'read', sent: 'read', seen: 'read', read: 'read', clicked: 'read', held: 'sent', digested: 'sent', digest_opened: 'sent', scheduled: 'sent', send_retry: 'sent',
  opted_out: 'held', capped: 'held', blocked: 'held', muted: 'held', expired: 'held', cancelled: 'held', send_failed: 'held', no_address: 'held', not_in_audience: 'held', replaced: 'held' };

function answerOf({ items, reason }, totals) {
  const back = Object.entries(totals.held_back).filter(([, n]) => n);
  return [
    h('p', { class: 'lead' }, items.length ? `${items.at(-1).reason.replace(/^./, (c) => c.toUpperCase())}.` : `${(reason ?? 'nothing was decided').replace(/^./, (c) => c.toUpperCase())}.`),
    items.length && h('ol', { class: 'why-list panel' }, items.map((d) => h('li', {}, h('time', { datetime: d.at, class: 'muted' }, date(d.at)), h('span', { class: `badge ${MOODS[d.decision] ?? ''}` }, words(d.decision)), h('span', {}, d.reason)))),
    h('dl', { class: 'facts' }, [['Workflow', totals.workflow ?? '–'], ['Taken', date(totals.created_at)], ['State', totals.state], ['For', count(totals.recipients)], ['In inboxes', count(totals.delivered)], ['Seen', count(totals.seen)], ['Read', count(totals.read)],
      ['Clicked', count(totals.clicked)], ['Failed', count(totals.failed)], ...back.map(([k, n]) => [words(k), count(n)])].map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v)))),
  ].filter(Boolean);
}

function why({ go }, [trigger = '', user = '']) {
  const field = (id, value) => h('input', { id, value, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', required: true });
  const which = field('why-trigger', trigger), who = field('why-user', user), out = h('div', { class: 'found', 'aria-live': 'polite' });
  async function show() {
    if (!trigger || !user) return;
    try {
      const [said, totals] = await Promise.all([get(`/v1/notifications/${part(trigger)}/why/${part(user)}`), get(`/v1/notifications/${part(trigger)}`)]);
      out.replaceChildren(...answerOf(said, totals));
    } catch (e) {
      out.replaceChildren(h('p', { class: 'lead nothing' }, e instanceof Refused && e.status === 404 ? 'There is no such trigger in this key’s app, or it is past retention.' : e.message));
    }
  }
  show();
  return { node: [h('h2', {}, 'Why did they, or did they not, get it?'), h('form', { class: 'find panel pad', role: 'search', onsubmit: (e) => {
    e.preventDefault();
    if (!go(`notify/${part(which.value.trim())}/${part(who.value.trim())}`)) show();
  } }, h('label', { class: 'field wide', for: 'why-trigger' }, 'Trigger', which), h('label', { class: 'field', for: 'why-user' }, 'User', who), h('button', { type: 'submit', class: 'strong' }, 'Tell why')), out],
  };
}

export function notify(app, rest) {
  const flow = flowOf(app.board, app.past), list = letters(), asked = why(app, rest);
  const element = h('div', { class: 'notify' }, h('h1', { class: 'sr' }, 'Notifications'), rest[0] ? [asked.node, flow.node, list.node] : [flow.node, list.node, asked.node]);
  return { element, spans: true, update: flow.update, close() { flow.close(); list.close(); } };
}
