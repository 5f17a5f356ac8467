// How one person wants to be told: a switch for each workflow and channel, quiet hours, a pause. What is switched is saved at once. SPDX-License-Identifier: Apache-2.0
import { clock, h, icon, say } from '/demo/dom.js';

const CHANNELS = [['inapp', 'Here'], ['push', 'Push'], ['email', 'Mail']];
const WORKFLOWS = [['message', 'Messages', ['inapp', 'push']], ['like', 'Likes', ['inapp', 'push']], ['comment', 'Comments', ['inapp', 'push', 'email']], ['train', 'My train', ['inapp', 'push']], ['announcement', 'Announcements', ['inapp']]];
const DAYS = [['mon', 'Monday'], ['tue', 'Tuesday'], ['wed', 'Wednesday'], ['thu', 'Thursday'], ['fri', 'Friday'], ['sat', 'Saturday'], ['sun', 'Sunday']];
const PAUSES = [['Off', 0], ['1 h', 1], ['8 h', 8], ['24 h', 24]];
const QUIET = { from: '22:00', to: '07:00' };

export class Wishes {
  shown = false;
  #person; #given = { workflows: {} }; #hush;

  constructor(person, { back }) {
    this.#person = person;
    const toggle = (label, onchange) => h('input', { type: 'checkbox', role: 'switch', class: 'toggle', 'aria-label': label, onchange });
    this.cells = WORKFLOWS.map(([id, name, channels]) => ({ id, row: h('tr', {}, h('th', { scope: 'row' }, name), CHANNELS.map(([channel, words]) => h('td', {}, channels.includes(channel)
      ? toggle(`${name}: ${words}`, (e) => this.#put({ workflows: { [id]: { [channel]: e.target.checked } } })) : h('span', { class: 'no', 'aria-hidden': 'true' }, '–')))) }));
    this.quiet = toggle('Quiet hours', () => this.#quiet());
    this.from = h('input', { type: 'time', 'aria-label': 'Quiet from', value: QUIET.from, onchange: () => this.#quiet() });
    this.to = h('input', { type: 'time', 'aria-label': 'Quiet to', value: QUIET.to, onchange: () => this.#quiet() });
    this.days = DAYS.map(([id, name]) => h('button', { type: 'button', 'data-day': id, 'aria-pressed': 'true', 'aria-label': name, title: name, onclick: (e) => this.#day(e.currentTarget) }, name.slice(0, 1)));
    this.hours = h('div', { class: 'hours' }, h('div', { class: 'span' }, this.from, h('span', {}, 'to'), this.to), h('div', { class: 'days', role: 'group', 'aria-label': 'On which days they begin' }, this.days));
    this.pauses = PAUSES.map(([words, hours]) => h('button', { type: 'button', 'aria-pressed': 'false', 'aria-label': hours ? `Pause for ${words}` : 'Pause: off', onclick: () => this.#pause(hours) }, words));
    this.until = h('span', { class: 'until' });
    this.saved = h('span', { class: 'saved', role: 'status' });
    this.root = h('div', { class: 'wishes', role: 'group', 'aria-label': 'How to be told' },
      h('div', { class: 'under' }, h('button', { class: 'tool return', type: 'button', 'aria-label': 'Back to the notifications', onclick: back }, icon('back')), h('h3', {}, 'How to be told'), this.saved),
      h('div', { class: 'sheet', tabindex: '-1' },
        h('table', {}, h('thead', {}, h('tr', {}, h('td', {}), CHANNELS.map(([, words]) => h('th', { scope: 'col' }, words)))), h('tbody', {}, this.cells.map((c) => c.row))),
        h('section', {}, h('header', {}, h('h4', {}, 'Quiet hours'), this.quiet), this.hours, h('p', {}, 'Push and mail wait until they end. This list does not.')),
        h('section', {}, h('header', {}, h('h4', {}, 'Pause'), this.until), h('div', { class: 'tabs pauses', role: 'group', 'aria-label': 'Pause' }, this.pauses))));
    this.root.inert = true;
  }

  show(shown) {
    if (this.shown === shown) return;
    this.shown = shown;
    this.root.classList.toggle('open', shown);
    this.root.inert = !shown;
    if (!shown) return;
    this.root.querySelector('.return').focus({ preventScroll: true });
    this.#person.kith.preferences().then((p) => this.#is(p), (e) => e.code !== 'not-found' && this.#tell('Not read'));
  }

  draw() {
    for (const { id, row } of this.cells) {
      row.querySelectorAll('input').forEach((e) => {
        const channel = CHANNELS[[...row.children].indexOf(e.parentElement) - 1][0];
        e.checked = this.#given.workflows[id]?.[channel] ?? this.#given.workflows['*']?.[channel] ?? true;
      });
    }
    const q = this.#given.quiet_hours, paused = this.#given.paused_until, pausing = paused && Date.parse(paused) > Date.now();
    this.quiet.checked = Boolean(q);
    this.hours.classList.toggle('off', !q);
    for (const e of this.hours.querySelectorAll('input, button')) e.disabled = !q;
    if (q && document.activeElement !== this.from) this.from.value = q.from;
    if (q && document.activeElement !== this.to) this.to.value = q.to;
    for (const b of this.days) b.setAttribute('aria-pressed', String(!q?.days || q.days.includes(b.dataset.day)));
    say(this.until, pausing ? `until ${clock(paused)}` : '');
    this.pauses[0].setAttribute('aria-pressed', String(!pausing));
    this.pauses.slice(1).forEach((b, i) => b.setAttribute('aria-pressed', String(Boolean(pausing && this.paused === PAUSES[i + 1][1]))));
  }

  #is(preferences) {
    this.#given = preferences;
    this.draw();
  }

  #tell(words) {
    say(this.saved, words);
    clearTimeout(this.#hush);
    this.#hush = setTimeout(() => say(this.saved, ''), 2500);
  }

  async #put(change) {
    try {
      this.#is(await this.#person.kith.putPreferences(change));
      this.#tell('Saved');
    } catch (e) {
      this.#tell(e.detail || 'Not saved');
      this.draw();
    }
  }

  #quiet() {
    if (!this.quiet.checked) return this.#put({ quiet_hours: null });
    const days = this.days.filter((b) => b.getAttribute('aria-pressed') === 'true').map((b) => b.dataset.day);
    return this.#put({ quiet_hours: { from: this.from.value || QUIET.from, to: this.to.value || QUIET.to, ...(days.length && days.length < DAYS.length ? { days } : {}) } });
  }

  #day(button) {
    const on = button.getAttribute('aria-pressed') !== 'true';
    if (!on && this.days.filter((b) => b.getAttribute('aria-pressed') === 'true').length === 1) return; // none at all is what the switch is for
    button.setAttribute('aria-pressed', String(on));
    this.#quiet();
  }

  #pause(hours) {
    this.paused = hours;
    this.#put({ paused_until: hours ? new Date(Date.now() + hours * 3_600_000).toISOString() : null });
  }
}
