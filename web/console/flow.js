// The road that every message takes, live, and charts of the last hour.
// SPDX-License-Identifier: Apache-2.0
import { h, property, say } from './dom.js';
import { Chart, Spark } from './chart.js';
import { bytes, core, count, kib, micros, millis } from './format.js';

const ROAD = [
  ['admit', 'Came', 'read, checked, handed to the log'],
  ['durable', 'Log', 'written to the disk and synced'],
  ['apply', 'Apply', 'decided and kept'],
  ['relay', 'Relay', 'on the way to the members’ partitions'],
  ['write', 'Deliver and write', 'chosen, rendered, given to sockets'],
];
const WHOLE = [
  ['accepted', 'To the sender’s tick', 'from a message’s coming to the answer that it is safe'],
  ['delivered', 'To the devices', 'from a message’s coming until connected devices have it'],
  ['commit', 'One log commit', 'write and sync of all that waited'],
  ['turn', 'One turn of a shard', 'long ones hold up all that it serves'],
];

function figures(withQueue) {
  const cells = {};
  const one = (name, label) => h('div', {}, h('dt', {}, label), (cells[name] = h('dd', {}, '–')));
  const list = h('dl', { class: 'figures' }, one('p50', 'p50'), one('p99', 'p99'), withQueue && one('queue', 'queue'));
  return { cells, list };
}

function card(board, [stage, title, words], tag, withQueue) {
  const rate = h('span', { class: 'rate' }, '–');
  const { cells, list } = figures(withQueue);
  const spark = new Spark(board, { title, series: [{ name: title, column: `${stage}_per_s`, colour: 'c1', fill: true }], span: 120000, height: 30 });
  const node = h(tag, { class: 'stage panel', 'data-stage': stage },
    h('h2', {}, title), h('p', { class: 'muted words' }, words), h('p', { class: 'big' }, rate, h('span', { class: 'muted' }, ' /s')), list, spark.element);
  return { stage, node, rate, cells, spark };
}

/** Of p99, in words and colours: what a person would notice. */
function mood(stage, p99, per_s) {
  if (!per_s) return 'quiet';
  const slow = stage === 'accepted' || stage === 'delivered' ? 50 : 20;
  return p99 >= 10 * slow ? 'bad' : p99 >= slow ? 'warn' : 'good';
}

export function flow({ board }) {
  const road = ROAD.map((s) => card(board, s, 'li', true));
  const totals = WHOLE.map((s) => card(board, s, 'div', false));
  const charts = [
    new Chart(board, { title: 'Messages a second', format: count, least: 10, series: [
      { name: 'accepted', column: 'messages_accepted_per_s', colour: 'c1', fill: true }, { name: 'delivered', column: 'messages_delivered_per_s', colour: 'c2' },
      { name: 'refused', column: 'messages_refused_per_s', colour: 'c4' }] }),
    new Chart(board, { title: 'Time until the sender’s tick', format: micros, log: 100, series: [
      { name: 'p50', column: 'accepted_p50_us', colour: 'c2' }, { name: 'p99', column: 'accepted_p99_us', colour: 'c1' }] }),
    new Chart(board, { title: 'Time until devices have it', format: micros, log: 100, series: [
      { name: 'p50', column: 'delivered_p50_us', colour: 'c2' }, { name: 'p99', column: 'delivered_p99_us', colour: 'c1' }] }),
    new Chart(board, { title: 'Log: write and sync', format: micros, log: 100, series: [
      { name: 'p50', column: 'commit_p50_us', colour: 'c2' }, { name: 'p99', column: 'commit_p99_us', colour: 'c1' }] }),
    new Chart(board, { title: 'What waits', format: count, least: 10, series: [
      { name: 'for the log', column: 'log_waiting', colour: 'c1' }, { name: 'to be applied', column: 'apply_waiting', colour: 'c2' },
      { name: 'relays', column: 'relays_waiting', colour: 'c3' }, { name: 'jobs', column: 'jobs_waiting', colour: 'c5' }] }),
    new Chart(board, { title: 'Cores', format: core, least: 1000, series: [
      { name: 'shards', column: 'shards_millicores', colour: 'c1', fill: true }, { name: 'waited for', column: 'shards_waited_millicores', colour: 'c4' },
      { name: 'log', column: 'log_millicores', colour: 'c2' }, { name: 'tables', column: 'tables_millicores', colour: 'c3' }] }),
    new Chart(board, { title: 'Bytes a second', format: bytes, binary: true, least: 1024, series: [
      { name: 'in', column: 'bytes_in_per_s', colour: 'c2' }, { name: 'out', column: 'bytes_out_per_s', colour: 'c1' }] }),
    new Chart(board, { title: 'State that the tables do not hold yet', format: kib, binary: true, least: 1024, series: [
      { name: 'bytes', column: 'dirty_kib', colour: 'c3', fill: true }] }),
  ];
  const element = h('div', {},
    h('h1', { class: 'sr' }, 'Flow'),
    h('ol', { class: 'road', 'aria-label': 'The road of a message' }, road.map((c) => c.node)),
    h('div', { class: 'totals' }, totals.map((c) => c.node)),
    h('div', { class: 'charts' }, charts.map((c) => c.element)));
  const show = (c, s) => {
    if (!s) return;
    say(c.rate, count(s.per_s));
    say(c.cells.p50, s.per_s ? millis(s.p50_ms || 0.0001) : '–'); // told in whole microseconds
    say(c.cells.p99, s.per_s ? millis(s.p99_ms || 0.0001) : '–');
    c.cells.p99.dataset.mood = mood(c.stage, s.p99_ms, s.per_s);
    if (c.cells.queue) say(c.cells.queue, s.queue_bytes !== undefined ? bytes(s.queue_bytes) : count(s.queue ?? 0));
    c.node.classList.toggle('idle', !s.per_s);
    // the busier, the faster what moves along the road
    property(c.node, '--pace', `${(4 / (1 + Math.log10(1 + s.per_s))).toFixed(1)}s`);
  };
  return {
    element,
    spans: true,
    update(now) {
      const stages = new Map(now.stages.map((s) => [s.stage, s]));
      for (const c of [...road, ...totals]) show(c, stages.get(c.stage));
    },
    close() {
      for (const c of [...charts, ...road.map((r) => r.spark), ...totals.map((r) => r.spark)]) c.close();
    },
  };
}
