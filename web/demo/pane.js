// One person's phone: their name and the switch of their connection above; below, the list of conversations or one of them. SPDX-License-Identifier: Apache-2.0
import { h, icon, keyed, roving, say, when } from '/demo/dom.js';
import { Bell } from '/demo/bell.js';
import { Chat } from '/demo/chat.js';

/** The round sign of a person, or of a group. */
export function face(people, c, me) {
  const other = c.type === 'direct' ? people.get(c.members.find((u) => u !== me)) : null;
  return h('span', { class: `face ${other ? '' : 'group'}`, style: { '--h': other?.hue ?? hueOf(c.id) }, 'aria-hidden': 'true' }, (other?.name ?? titleOf(people, c, me)).slice(0, 1).toUpperCase());
}

const hueOf = (id) => [...id].reduce((n, ch) => (n * 31 + ch.charCodeAt(0)) % 360, 7);
export const nameOf = (people, user) => people.get(user)?.name ?? user;
export const titleOf = (people, c, me) => c.name ?? (c.members.filter((u) => u !== me).map((u) => nameOf(people, u)).join(', ') || 'Just me');

/** A line about a message: of whom, what. */
export function lineOf(people, m, me, c) {
  if (!m) return 'Nothing yet';
  const who = m.from === me ? 'You: ' : c.type === 'direct' || !m.from ? '' : `${nameOf(people, m.from)}: `;
  return m.deleted_at ? 'Deleted' : m.hidden ? 'Hidden' : who + (m.body ?? 'Something that is no text');
}

export class Pane {
  shown = null; // the conversation, or null: the list
  #person; #people; #app; #drawn = false; #rows; #chat; #bell;

  constructor(person, people, app) {
    this.#person = person;
    this.#people = people;
    this.#app = app;
    const name = `${person.name}’s phone`;
    this.wave = h('span', { class: 'wave' }, 'Connecting');
    this.flip = h('button', { class: 'flip', type: 'button', role: 'switch', 'aria-checked': 'true', 'aria-label': `${person.name}’s connection`, onclick: () => person.setCut(!person.cut) },
      h('span', { class: 'knob' }, icon('plane')));
    this.list = h('div', { class: 'list', role: 'list', 'aria-label': 'Conversations' });
    this.#rows = roving(this.list, '.row');
    this.start = h('button', { class: 'new', type: 'button', 'aria-label': 'New conversation', title: 'New conversation', onclick: () => app.compose(person, (id) => this.open(id, true)) }, icon('plus'), 'New');
    this.listScreen = h('div', { class: 'screen lists' }, h('div', { class: 'under' }, h('h3', {}, 'Conversations'), this.start), this.list);
    this.#chat = new Chat(person, people, app, { back: () => this.back() });
    this.#bell = new Bell(person, people, { changed: () => this.draw(), told: app.tell, opened: (c) => this.open(c, true) });
    this.note = h('p', { class: 'note', hidden: true });
    this.root = h('section', { class: 'phone', 'aria-label': name, style: { '--h': person.hue }, 'data-person': person.id },
      h('header', { class: 'who' },
        h('span', { class: 'face self', style: { '--h': person.hue }, 'aria-hidden': 'true' }, person.name.slice(0, 1)),
        h('div', { class: 'names' }, h('h2', {}, person.name), this.wave), this.#bell.button, this.flip),
      h('div', { class: 'stage' }, h('p', { class: 'choose' }, 'Choose a conversation'), this.listScreen, this.#chat.root, this.#bell.root), this.note);
    person.addEventListener('change', (e) => {
      if (e.detail.what === 'started') this.#bell.start();
      if (e.detail.what === 'error') this.#tell(person.error);
      this.draw();
    });
    this.#draw();
  }

  /** Once a frame, however much came. */
  draw() {
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => {
      this.#drawn = false;
      this.#draw();
    });
  }

  open(id, focus) {
    this.shown = id;
    this.#chat.show(id);
    this.#draw();
    if (focus) this.#chat.focus();
  }

  back() {
    const from = this.shown;
    this.shown = null;
    this.#chat.show(null);
    this.#draw();
    (this.list.querySelector(`[data-key="${CSS.escape(from)}"] .row`) ?? this.list.querySelector('.row'))?.focus();
  }

  focus() {
    if (this.#bell.open) this.#bell.root.querySelector('.ping[tabindex="0"], .tabs button').focus();
    else if (this.shown) this.#chat.focus();
    else this.list.querySelector('.row[tabindex="0"]')?.focus();
  }

  #tell(words) {
    say(this.note, words);
    this.note.hidden = !words;
    clearTimeout(this.hush);
    this.hush = setTimeout(() => { this.note.hidden = true; }, 5000);
  }

  #draw() {
    const p = this.#person;
    const state = p.cut ? 'cut' : p.catchingUp ? 'catching' : p.state;
    this.root.dataset.state = state;
    say(this.wave, { cut: 'Offline', catching: p.came ? `Catching up · ${p.came} new` : 'Catching up', connecting: 'Connecting', online: 'Online', offline: 'Coming back', closed: p.error || 'Offline' }[state]);
    this.flip.setAttribute('aria-checked', String(!p.cut));
    if (this.shown && !p.conversations.has(this.shown) && p.conversations.size) this.shown = null;
    this.root.classList.toggle('in', this.shown !== null);
    this.listScreen.inert = this.#bell.open || (this.shown !== null && !this.wide);
    this.#chat.root.inert = this.#bell.open || this.shown === null;
    this.#bell.draw();
    let at = 0;
    keyed(this.list, p.list(), (c) => c.id, (c) => this.#row(c), (e, c) => {
      e.style.setProperty('--at', at++);
      this.#fill(e, c);
    });
    this.#rows();
    this.#chat.draw();
  }

  /** The list and a conversation stand side by side. */
  get wide() { return this.root.clientWidth >= 640; }

  #row(c) {
    return h('div', { role: 'listitem' }, h('button', { class: 'row', type: 'button', tabindex: '-1', onclick: () => this.open(c.id, true) },
      face(this.#people, c, this.#person.id),
      h('span', { class: 'title', dir: 'auto' }), h('time', {}), h('span', { class: 'line', dir: 'auto' }), h('span', { class: 'badge' })));
  }

  #fill(e, c) {
    const p = this.#person, last = p.lastOf(c), [row] = e.children;
    const typing = [...c.typing.keys()];
    say(row.querySelector('.title'), titleOf(this.#people, c, p.id));
    say(row.querySelector('time'), when(last?.created_at ?? last?.deleted_at));
    say(row.querySelector('.line'), typing.length ? `${nameOf(this.#people, typing[0])} is typing…` : lineOf(this.#people, last, p.id, c));
    row.querySelector('.line').classList.toggle('typing', typing.length > 0);
    const badge = row.querySelector('.badge');
    say(badge, c.unread ? String(c.unread) : '');
    if (c.unread) badge.setAttribute('aria-label', `${c.unread} unread`);
    else badge.removeAttribute('aria-label');
    row.classList.toggle('unread', c.unread > 0);
    row.classList.toggle('here', this.shown === c.id);
    row.querySelector('.face').classList.toggle('on', c.type === 'direct' && p.others(c).some((u) => p.isOnline(u)));
  }
}
