// Connections, partitions, disk and memory, limits: what the server is and holds now.
// SPDX-License-Identifier: Apache-2.0
import { h, property, rows, s, say } from './dom.js';
import { Chart, Spark } from './chart.js';
import { get, part } from './api.js';
import { bytes, core, count, kib, mib } from './format.js';

/** A number with a name over it. */
function tile(label, words) {
  const value = h('span', { class: 'number' }, '–');
  return { value, node: h('div', { class: 'tile panel' }, h('span', { class: 'label' }, label), value, words && h('span', { class: 'muted words' }, words)) };
}

/** A table whose rows are kept: heads as [name, class?]. */
function table(caption, heads) {
  const body = h('tbody');
  const node = h('div', { class: 'scroll panel', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, h('span', {}, caption)), h('thead', {}, h('tr', {}, heads.map(([name, kind]) => h('th', { scope: 'col', class: kind }, name)))), body));
  return { node, body };
}

const cellsOf = (n) => Array.from({ length: n }, () => h('td', { class: 'n' }));
const row = (head, n) => {
  const cells = cellsOf(n);
  const tr = h('tr', {}, h('th', { scope: 'row' }, head), cells);
  tr.cells_ = cells;
  return tr;
};
const put = (tr, values) => values.forEach((v, i) => say(tr.cells_[i], v));

/* ---- connections ---- */
export function connections({ board, past, go }) {
  const tiles = {
    connections: tile('Connections'), sessions: tile('Devices and streams'), opened: tile('Opened', 'a second'),
    handshakes: tile('TLS handshakes', 'a second'), in: tile('Received', 'a second'), out: tile('Sent', 'a second'),
  };
  const charts = [
    new Chart(board, { title: 'Connections', format: count, least: 10, series: [
      { name: 'open', column: 'connections', colour: 'c1', fill: true }, { name: 'devices and streams', column: 'sessions', colour: 'c2' }] }),
    new Chart(board, { title: 'Come and shaken hands, a second', format: count, least: 5, series: [
      { name: 'opened', column: 'connections_opened_per_s', colour: 'c1' }, { name: 'TLS', column: 'tls_handshakes_per_s', colour: 'c2' },
      { name: 'TLS failed', column: 'tls_failed_per_s', colour: 'c4' }] }),
    new Chart(board, { title: 'Requests and packets a second', format: count, least: 10, series: [
      { name: 'HTTP', column: 'http_requests_per_s', colour: 'c1' }, { name: 'HTTP problems', column: 'http_errors_per_s', colour: 'c4' },
      { name: 'MQTT packets', column: 'mqtt_packets_in_per_s', colour: 'c2' }] }),
    new Chart(board, { title: 'Written and not taken', format: kib, binary: true, least: 64, series: [{ name: 'bytes', column: 'output_kib', colour: 'c3', fill: true }] }),
  ];
  const doors = table('Listeners', [['Listener'], ['Port', 'n'], ['TLS', 'n']]);
  const shards = table('Shards', [['Shard'], ['Connections', 'n'], ['Devices', 'n'], ['Not taken', 'n'], ['Buffers', 'n'], ['Jobs wait', 'n'], ['Relays wait', 'n']]);
  const list = table('Devices connected now', [['User'], ['Device'], ['Speaks'], ['Subscriptions', 'n'], ['Unacknowledged', 'n']]);
  const more = h('button', { type: 'button', onclick: () => page(false) }, 'More');
  const said = h('p', { class: 'muted', role: 'status' });
  let next = '';
  let closed = false;
  const device = (one) => h('tr', {},
    h('td', {}, one.user ? h('a', { href: `#find/user/${part(one.user)}` }, one.user) : h('span', { class: 'muted' }, 'server key')),
    h('td', {}, one.device), h('td', {}, { mqtt3: 'MQTT 3.1.1', mqtt5: 'MQTT 5', sse: 'SSE' }[one.protocol] ?? one.protocol),
    h('td', { class: 'n' }, count(one.subscriptions)), h('td', { class: 'n' }, count(one.unacknowledged)));
  async function page(anew) {
    if (anew) next = '';
    if (next === null || closed) return;
    try {
      const answer = await get(`/v1/sessions?limit=50${next ? `&cursor=${part(next)}` : ''}`);
      if (anew) list.body.replaceChildren();
      list.body.append(...answer.items.map(device));
      next = answer.next;
      more.hidden = next === null;
      say(said, list.body.children.length ? 'Of this key’s app.' : 'No device of this key’s app is connected.');
    } catch (e) {
      say(said, `The list could not be read: ${e.message}`);
    }
  }
  page(true);
  return {
    element: h('div', {}, h('h1', { class: 'sr' }, 'Connections'), h('div', { class: 'tiles' }, Object.values(tiles).map((t) => t.node)),
      h('div', { class: 'charts' }, charts.map((c) => c.element)),
      h('div', { class: 'two' }, shards.node, doors.node), list.node,
      h('p', { class: 'under' }, h('button', { type: 'button', onclick: () => page(true) }, 'Read again'), more, said)),
    spans: true,
    update(now) {
      const show = { connections: count(past.newest('connections')), sessions: count(past.newest('sessions')), opened: count(past.newest('connections_opened_per_s')),
        handshakes: count(past.newest('tls_handshakes_per_s')), in: bytes(past.newest('bytes_in_per_s')), out: bytes(past.newest('bytes_out_per_s')) };
      for (const [name, text] of Object.entries(show)) say(tiles[name].value, text);
      rows(shards.body, now.shards, (x) => x.shard, (x) => row(`shard ${x.shard}`, 6), (tr, x) =>
        put(tr, [count(x.connections), count(x.sessions), bytes(x.output_bytes), bytes(x.buffers_bytes), count(x.jobs_waiting), count(x.relays_waiting)]));
      rows(doors.body, now.listeners, (x) => x.listener, (x) => row(x.listener, 2), (tr, x) => put(tr, [String(x.port), x.tls ? 'yes' : 'no']));
    },
    close() {
      closed = true;
      charts.forEach((c) => c.close());
    },
  };
}

/* ---- partitions ---- */
const heat = (lag) => (lag === 0 ? 0 : lag < 10 ? 1 : lag < 100 ? 2 : lag < 1000 ? 3 : 4);

export function partitions({ board }) {
  const charts = [
    new Chart(board, { title: 'Log lag: appended, not durable; the worst partition', format: count, least: 10, series: [{ name: 'records', column: 'log_lag', colour: 'c1', fill: true }] }),
    new Chart(board, { title: 'Apply lag: durable, not applied; the worst partition', format: count, least: 10, series: [{ name: 'records', column: 'apply_lag', colour: 'c2', fill: true }] }),
  ];
  const map = h('ol', { class: 'heat', 'aria-label': 'Partitions by lag' });
  const list = table('Partitions', [['Partition'], ['Shard', 'n'], ['First kept', 'n'], ['Last', 'n'], ['Applied', 'n'], ['Log lag', 'n'], ['Apply lag', 'n']]);
  const threads = table('Threads, of a core', [['Thread'], ['Used', 'n'], ['Share', 'bar'], ['Waited for a core', 'n']]);
  const order = h('select', { 'aria-label': 'Order of partitions' }, h('option', { value: 'last' }, 'most records first'), h('option', { value: 'lag' }, 'most lag first'), h('option', { value: 'number' }, 'by number'));
  const makeThread = (t) => {
    const [used, waited] = cellsOf(2);
    const bar = h('i', { class: 'meter' });
    const tr = h('tr', {}, h('th', { scope: 'row' }, t.thread), used, h('td', { class: 'bar' }, h('span', { class: 'gauge' }, bar)), waited);
    tr.cells_ = [used, waited];
    tr.bar = bar;
    return tr;
  };
  return {
    element: h('div', {}, h('h1', { class: 'sr' }, 'Partitions'), h('div', { class: 'charts' }, charts.map((c) => c.element)),
      h('section', { class: 'panel pad' }, h('h2', {}, 'Where records wait'), map,
        h('p', { class: 'muted scale' }, 'log lag + apply lag: ', ['none', '1–9', '10–99', '100–999', '1,000 and more'].map((w, i) => h('span', { class: 'step' }, h('i', { class: `cell h${i}` }), w)))),
      threads.node, h('p', { class: 'under' }, h('label', {}, 'Order ', order)), list.node),
    spans: true,
    update(now) {
      rows(map, now.partitions, (p) => p.partition, (p) => h('li', { class: 'cell' }, String(p.partition)), (li, p) => {
        const lag = p.log_lag + p.apply_lag;
        li.className = `cell h${heat(lag)}`;
        li.title = `partition ${p.partition}: log lag ${p.log_lag}, apply lag ${p.apply_lag}`;
      });
      rows(threads.body, now.threads, (t) => t.thread, makeThread, (tr, t) => {
        put(tr, [core(t.used_millicores), core(t.waited_millicores)]);
        property(tr.bar, 'width', `${Math.min(100, t.used_millicores / 10)}%`);
      });
      const sorts = { number: (p) => p.partition, lag: (p) => -(p.log_lag + p.apply_lag), last: (p) => -p.last };
      const by = sorts[order.value];
      const sorted = [...now.partitions].sort((a, b) => by(a) - by(b) || a.partition - b.partition);
      rows(list.body, sorted, (p) => p.partition, (p) => row(p.partition, 6), (tr, p) =>
        put(tr, [String(p.shard), count(p.first), count(p.last), count(p.applied), count(p.log_lag), count(p.apply_lag)]));
    },
    close: () => charts.forEach((c) => c.close()),
  };
}

/* ---- disk and memory ---- */
function stack(parts) {
  const bar = h('div', { class: 'stack', 'aria-hidden': 'true' });
  const body = h('tbody');
  const pieces = parts.map(([name, words, colour]) => {
    const piece = bar.appendChild(h('i', { class: colour }));
    const value = h('td', { class: 'n' });
    const share = h('td', { class: 'n muted' });
    body.append(h('tr', {}, h('th', { scope: 'row', 'data-words': words }, h('i', { class: `swatch ${colour}` }), name), h('td', { class: 'muted words' }, words), value, share));
    return { piece, value, share };
  });
  return {
    node: h('div', {}, bar, h('div', { class: 'scroll' }, h('table', { class: 'plain' }, body))),
    update(values) {
      const sum = values.reduce((a, b) => a + b, 0) || 1;
      pieces.forEach((p, i) => {
        property(p.piece, 'flex-grow', String(values[i] / sum));
        say(p.value, bytes(values[i]));
        say(p.share, `${((100 * values[i]) / sum).toFixed(1)} %`);
      });
    },
  };
}

export function memory({ board }) {
  const mem = stack([['State', 'cells of partitions', 'c1'], ['Tables', 'RocksDB: block cache, memtables', 'c2'], ['Connections', 'and their buffers', 'c3'],
    ['Log queue', 'records on their way to the disk', 'c5'], ['All else', 'code, threads, what the allocator keeps', 'c6']]);
  const disk = stack([['Log', 'kept segments', 'c1'], ['Tables', 'state', 'c2'], ['Free', 'where the data lies', 'c6']]);
  const resident = h('span', { class: 'number' });
  const charts = [
    new Chart(board, { title: 'Memory', format: kib, binary: true, least: 1024, series: [
      { name: 'resident', column: 'resident_kib', colour: 'c6' }, { name: 'state', column: 'cells_kib', colour: 'c1', fill: true },
      { name: 'tables', column: 'store_kib', colour: 'c2' }, { name: 'connections', column: 'buffers_kib', colour: 'c3' }] }),
    new Chart(board, { title: 'Log and tables on disk', format: kib, binary: true, least: 1024, series: [
      { name: 'log', column: 'log_kib', colour: 'c1', fill: true }, { name: 'tables', column: 'tables_kib', colour: 'c2' }] }),
    new Chart(board, { title: 'Free on disk', format: mib, binary: true, least: 1024, series: [{ name: 'free', column: 'disk_free_mib', colour: 'c6', fill: true }] }),
    new Chart(board, { title: 'State that the tables do not hold yet', format: kib, binary: true, least: 1024, series: [{ name: 'bytes', column: 'dirty_kib', colour: 'c3', fill: true }] }),
  ];
  return {
    element: h('div', {}, h('h1', { class: 'sr' }, 'Disk and memory'),
      h('div', { class: 'two even' }, h('section', { class: 'panel pad' }, h('h2', {}, 'Memory by owner ', resident), mem.node), h('section', { class: 'panel pad' }, h('h2', {}, 'Disk'), disk.node)),
      h('div', { class: 'charts' }, charts.map((c) => c.element))),
    spans: true,
    update(now) {
      const m = now.memory_bytes;
      const known = m.cells + m.store + m.buffers + m.log_queue;
      mem.update([m.cells, m.store, m.buffers, m.log_queue, Math.max(0, m.resident - known)]);
      say(resident, bytes(m.resident));
      disk.update([now.disk_bytes.log, now.disk_bytes.tables, now.disk_bytes.free]);
    },
    close: () => charts.forEach((c) => c.close()),
  };
}

/* ---- limits ---- */
export function limits({ board, past }) {
  const list = table('Limits', [['Limit'], ['What it means', 'words'], ['Last minute', 'n'], ['Last hour', 'n'], ['Since the start', 'n'], ['The hour', 'sparkline']]);
  const said = h('p', { class: 'lead', role: 'status' });
  const sparks = [];
  const make = (l) => {
    const spark = new Spark(board, { title: l.limit, span: 3600000, height: 24, series: [{ name: l.limit, column: `${l.limit}_per_s`, colour: 'c4', fill: true }] });
    sparks.push(spark);
    const cells = cellsOf(3);
    const tr = h('tr', {}, h('th', { scope: 'row', 'data-words': l.words }, l.limit.replace('limit_', '').replaceAll('_', ' ')), h('td', { class: 'words' }, l.words), cells, h('td', { class: 'sparkline' }, spark.element));
    tr.cells_ = cells;
    return tr;
  };
  return {
    element: h('div', {}, h('h1', { class: 'sr' }, 'Limits'), said, list.node),
    update(now) {
      const hour = (l) => past.sum(`${l.limit}_per_s`);
      const recent = (l) => (past.column(`${l.limit}_per_s`)?.slice(-60) ?? []).reduce((a, b) => a + b, 0);
      const hit = now.limits.filter((l) => recent(l));
      say(said, hit.length ? `Hit in the last minute: ${hit.map((l) => l.limit.replace('limit_', '').replaceAll('_', ' ')).join(', ')}.`
        : now.limits.some((l) => hour(l)) ? 'No limit was hit in the last minute.' : 'No limit was hit in the last hour.');
      rows(list.body, now.limits, (l) => l.limit, make, (tr, l) => {
        put(tr, [count(recent(l)), count(hour(l)), count(l.hit)]);
        tr.classList.toggle('hit', recent(l) > 0);
      });
    },
    close: () => sparks.forEach((x) => x.close()),
  };
}
