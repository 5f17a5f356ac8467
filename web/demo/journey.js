// The way of one message through the server: a lane for its own record, a lane for each recipient, times on one scale. Read again until everybody has it. SPDX-License-Identifier: Apache-2.0
import { h, icon, keyed, say } from '/demo/dom.js';
import { nameOf } from '/demo/pane.js';

const LOOKS = [30, 120, 350, 900, 2000, 4000]; // ms after which it is read again, since something of it changed
const LATE = 60;                               // ms beyond the server's own way after which a write was one to a phone that had been away: its wait is shown, not drawn to scale
const SLOWER = 3;                              // times the server's own way after which what the phones take has a scale of its own,
const SERVER = 0.66;                           // behind so much of the width
// What each piece of time went into, by the stage that ends it: its colour, its name, what it means.
const PIECES = {
  appended: ['--s1', 'take', 'read, admitted, appended to the log'],
  relayed: ['--s1', 'take', 'handed to the recipient’s partition'],
  durable: ['--s2', 'disk', 'written and synced to the disk'],
  applied: ['--s3', 'apply', 'decided, given its place, stored in the tables'],
  written: ['--s4', 'write', 'written to the connection'],
  acked: ['--s5', 'phone', 'to the phone, and its acknowledgement back'],
};
const WORDS = { read: 'read', acknowledged: 'delivered', sent: 'on its way', waiting: 'waits', offline: 'offline: it waits', held: 'held' };

const AWAY = ['offline', 'waiting'];
const LABEL = 46; // px: the least piece that has its time written on it

const ms = (t) => (t < 1 ? t.toFixed(2) : t < 100 ? t.toFixed(1) : t < 1000 ? t.toFixed(0) : '') + (t < 1000 ? ' ms' : t < 60_000 ? `${(t / 1000).toFixed(1)} s` : `${Math.round(t / 60_000)} min`);

export class Journey {
  #people; #m = null; #timer; #look = 0; #asked = 0; #shown = '';

  constructor(root, people) {
    this.#people = people;
    this.root = root;
    this.text = h('p', { class: 'text', dir: 'auto' });
    this.total = h('p', { class: 'total' });
    this.where = h('p', { class: 'where' });
    this.rows = h('div', { class: 'rows', role: 'list', 'aria-label': 'The way to each', tabindex: '0' });
    this.axis = h('div', { class: 'axis', 'aria-hidden': 'true' });
    this.empty = h('p', { class: 'empty' }, 'Write a message, and see the way it takes.');
    const legend = [['--s1', 'take'], ['--s2', 'disk'], ['--s3', 'apply'], ['--s4', 'write'], ['--s5', 'phone']];
    this.what = h('div', { class: 'what', hidden: true }, h('h2', {}, 'Journey of a message'), this.text, this.total, this.where,
      h('div', { class: 'legend', 'aria-hidden': 'true' }, legend.map(([s, words]) => h('span', {}, h('i', { style: { '--s': `var(${s})` } }), words))));
    this.lanes = h('div', { class: 'lanes', hidden: true }, this.rows, this.axis);
    this.shut = h('button', { class: 'shut round', type: 'button', 'aria-label': 'Close the journey', onclick: () => this.close() }, icon('close'));
    root.append(this.what, this.lanes, this.empty, this.shut);
    root.addEventListener('keydown', (e) => { if (e.key === 'Escape') this.close(); });
  }

  /** open: also where there is room for it only when it is asked for. */
  follow(m, open) {
    this.#m = m;
    this.#shown = '';
    if (open) this.root.classList.add('open');
    this.again();
  }

  /** One that has just come: followed, unless a newer one is. */
  newer(m) { if (m.id !== this.#m?.id && !(this.#m && m.created_at < this.#m.created_at)) this.follow(m, false); }

  close() { this.root.classList.remove('open'); }

  /** Something of it may have changed. */
  again(conversation) {
    if (!this.#m || (conversation && conversation !== this.#m.conversation)) return;
    this.#look = 0;
    this.#next();
  }

  #next() {
    clearTimeout(this.#timer);
    if (this.#look >= LOOKS.length || document.hidden) return;
    this.#timer = setTimeout(() => this.#read(), LOOKS[this.#look++]);
  }

  async #read() {
    const m = this.#m, asked = ++this.#asked;
    let journey = null;
    try {
      const answer = await fetch(`/demo/api/items/${encodeURIComponent(m.id)}/journey?conversation=${encodeURIComponent(m.conversation)}`);
      if (answer.ok) journey = await answer.json();
    } catch { /* the server is away: what is shown stays */ }
    if (asked !== this.#asked || m !== this.#m) return;
    if (journey) this.#show(m, journey);
    const ended = (r) => r.state === 'read' && r.devices.some((d) => d.acked_after_ms !== undefined); // it may have been read before it was acknowledged
    if (!journey || !journey.recipients.every(ended)) this.#next();
  }

  /** [{whose, pieces: [{stage, from, to}], wait: ms or null, end, state}], the sender's first. */
  #lanes(j) {
    const cut = (stages, from) => stages.map((s) => {
      const piece = { stage: s.stage, from, to: s.after_ms };
      from = Math.max(from, s.after_ms);
      return piece;
    });
    const own = cut(j.stages.filter((s) => PIECES[s.stage]), 0);
    const applied = j.stages.find((s) => s.stage === 'applied')?.after_ms ?? own.at(-1)?.to ?? 0;
    const others = j.recipients.map((r) => {
      const device = r.devices.find((d) => d.acked_after_ms !== undefined) ?? r.devices.find((d) => d.written_after_ms !== undefined);
      const stages = r.stages.filter((s) => PIECES[s.stage] && s.stage !== 'written');
      const written = device?.written_after_ms ?? r.stages.find((s) => s.stage === 'written')?.after_ms;
      if (written !== undefined && device) stages.push({ stage: 'written', after_ms: written });
      if (device?.acked_after_ms !== undefined) stages.push({ stage: 'acked', after_ms: device.acked_after_ms });
      return { whose: r.user, state: r.state, held: r.held, pieces: cut(stages, applied), device: device?.device };
    });
    return [{ whose: j.from, state: 'own', pieces: own }, ...others];
  }

  #show(m, j) {
    const said = JSON.stringify(j);
    if (said === this.#shown) return;
    this.#shown = said;
    const lanes = this.#lanes(j);
    const own = Math.max(...lanes.flatMap((l) => l.pieces.filter((p) => p.stage !== 'written' && p.stage !== 'acked').map((p) => p.to)), lanes[0].pieces.at(-1)?.to ?? 0, 0.05);
    const late = own + LATE;
    for (const l of lanes) {
      const split = l.pieces.findIndex((p) => p.stage === 'written' && p.to > late);
      l.waited = split < 0 ? null : l.pieces[split].to;
      l.drawn = split < 0 ? l.pieces : l.pieces.slice(0, split);
      l.end = l.pieces.at(-1)?.to;
    }
    const waits = lanes.some((l) => l.waited !== null || AWAY.includes(l.state));
    const scale = this.#scale(lanes, waits);
    const kept = lanes[0].pieces.length > 0;
    this.empty.hidden = kept;
    if (!kept) say(this.empty, 'Of this message no times are kept. Write one, and see the way it takes.');
    this.what.hidden = this.lanes.hidden = !kept;
    this.#sum(m, j, lanes);
    keyed(this.rows, lanes, (l) => `${m.id} ${l.whose}`, (l) => this.#lane(l), (e, l) => this.#fill(e, l, scale));
    this.#axis(scale);
  }

  /** Where a time stands, from 0 to 1: the server's part is a fraction of the phones', and would be a line beside theirs. */
  #scale(lanes, waits) {
    const drawn = lanes.flatMap((l) => l.drawn), max = Math.max(...drawn.map((p) => p.to), 0.05);
    const server = Math.max(...drawn.filter((p) => p.stage !== 'acked').map((p) => p.to), 0.05) * 1.04, all = max * (waits ? 1.35 : 1.04);
    return max > server * SLOWER ? { at: (t) => (t <= server ? (t / server) * SERVER : SERVER + ((t - server) / (all - server)) * (1 - SERVER)), server, all } : { at: (t) => t / all, server: all, all };
  }

  #sum(m, j, lanes) {
    const text = m.body ? `“${m.body}”` : m.id, there = lanes.slice(1).filter((l) => l.pieces.some((p) => p.stage === 'written') && l.waited === null);
    const end = (stage) => Math.max(...there.map((l) => l.pieces.find((p) => p.stage === stage)?.to ?? Infinity));
    const name = (u) => nameOf(this.#people, u);
    const last = there.length ? end('written') : lanes[0].end ?? 0, acked = end('acked');
    const [n, unit] = ms(last).split(' ');
    say(this.text, text);
    this.total.replaceChildren(n, h('small', {}, ` ${unit}`));
    const back = lanes.slice(1).filter((l) => l.waited !== null).map((l) => `${name(l.whose)} had it after ${ms(l.waited)}, back online`);
    const absent = lanes.slice(1).filter((l) => AWAY.includes(l.state)).map((l) => name(l.whose));
    const to = there.length === 1 ? name(there[0].whose) : there.length ? `${there.length} phones` : '';
    say(this.where, to ? `from ${name(j.from)} to ${to}${Number.isFinite(acked) ? `, acknowledged at ${ms(acked)}` : ''}${absent.length ? `; ${absent.join(', ')} offline` : ''}` : `stored for good${[...back.slice(0, 1), ...(absent.length ? [`it waits for ${absent.join(', ')}`] : [])].map((w) => `; ${w}`).join('')}`);
  }

  #lane(l) {
    return h('div', { class: 'lane', role: 'listitem' }, h('span', { class: 'whose' },
      h('span', { class: 'face', style: { '--h': this.#people.get(l.whose)?.hue ?? 200 }, 'aria-hidden': 'true' }, nameOf(this.#people, l.whose).slice(0, 1)), nameOf(this.#people, l.whose)),
    h('span', { class: 'track' }), h('span', { class: 'now' }));
  }

  #fill(e, l, scale) {
    const [, track, now] = e.children;
    const drawn = l.drawn.filter((p) => p.to > p.from), width = this.axis.clientWidth;
    const pieces = [...drawn, ...(l.waited !== null || AWAY.includes(l.state) ? [{ stage: 'wait', from: drawn.at(-1)?.to ?? 0, to: scale.all }] : [])];
    keyed(track, pieces, (p) => p.stage, () => h('i', {}, h('span', {})), (i, p) => {
      const [color, name, meaning] = PIECES[p.stage] ?? ['--line', 'waits', l.waited !== null ? `there after ${ms(l.waited)}, when the phone came back` : 'until the phone comes back'];
      i.className = p.stage === 'wait' ? 'wait' : '';
      i.style.setProperty('--s', `var(${color})`);
      const part = scale.at(p.to) - scale.at(p.from);
      i.style.setProperty('--at', scale.at(p.from));
      i.style.setProperty('--part', part);
      i.title = p.stage === 'wait' ? meaning : `${name}, ${ms(p.to - p.from)}: ${meaning}`;
      say(i.firstChild, p.stage === 'wait' ? (l.waited !== null ? `waited ${ms(l.waited)}` : 'waits for the phone') : part * width > LABEL ? ms(p.to - p.from) : '');
    });
    say(now, l.state === 'own' ? `stored ${ms(l.pieces.find((p) => p.stage === 'durable')?.to ?? l.end ?? 0)}` : l.state === 'held' ? l.held : `${WORDS[l.state] ?? l.state}${l.waited === null && l.state === 'acknowledged' && l.pieces.at(-1)?.stage === 'acked' ? ` ${ms(l.end)}` : ''}`);
    now.title = now.textContent;
    now.classList.toggle('read', l.state === 'read');
    track.setAttribute('role', 'img');
    track.setAttribute('aria-label', drawn.map((p) => `${PIECES[p.stage][1]} ${ms(p.to - p.from)}`).join(', ') || 'nothing yet');
  }

  #axis({ at, server, all }) {
    const room = this.axis.clientWidth * at(server), raw = server / Math.min(8, Math.max(2, room / 90)), ten = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((n) => n * ten).find((s) => s >= raw);
    const ticks = Array.from({ length: Math.floor(server / step) + 1 }, (_, i) => i * step);
    this.lanes.classList.toggle('two', all > server);
    this.lanes.style.setProperty('--break', at(server));
    this.axis.replaceChildren(...[...ticks, ...(all > server ? [all / 1.04] : [])].map((t) => h('span', { style: { left: `${at(t) * 100}%` } }, t ? `${+t.toPrecision(3)} ms` : '0')));
  }
}
