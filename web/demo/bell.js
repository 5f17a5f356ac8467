// One person's notifications: the bell with what is unseen, the inbox behind it, and what the app's backend would send, to try it. SPDX-License-Identifier: Apache-2.0
import { calm, h, icon, keyed, roving, say, when } from '/demo/dom.js';
import { Wishes } from '/demo/wishes.js';

const VIEWS = [['unarchived', 'All'], ['unread', 'Unread'], ['archived', 'Archive']];
const EMPTY = { unarchived: 'Nothing yet. Send something below', unread: 'All is read', archived: 'Nothing was archived' };
const SIGNS = { like: 'heart', comment: 'talk', train: 'train', announcement: 'horn', message: 'talk' };
const FACES = 3;
const LONG_AGO = 60; // s: since then it says the time
// what the demo's backend sends; who acts is one of the others
const TRIES = [['Like', 'like', 1], ['12 likes', 'like', 12], ['Comment', 'comment', 1], ['Train', 'train', 1], ['To all', 'announcement', 0]];
const CROWD = ['ann', 'bob', 'cid', 'dee', 'eli', 'fay', 'gus', 'hal', 'ida', 'jon', 'kim', 'lea', 'max', 'nia'];
const hueOf = (id) => [...id].reduce((n, ch) => (n * 53 + ch.charCodeAt(0)) % 360, 11);

export class Bell {
  open = false;
  #person; #people; #inboxes = new Map(); #view = 'unarchived'; #rows; #wishes; #changed; #told; #opened; #minutes = 9;

  /** changed(): who shows it should draw. told(words): to who listens. opened(conversation): it is about one. */
  constructor(person, people, { changed, told, opened }) {
    this.#opened = opened;
    this.#person = person;
    this.#people = people;
    this.#changed = changed;
    this.#told = told;
    this.badge = h('span', { class: 'badge', 'aria-hidden': 'true' });
    this.button = h('button', { class: 'bell', type: 'button', 'aria-expanded': 'false', onclick: () => this.toggle() }, icon('bell'), this.badge);
    this.tabs = h('div', { class: 'tabs', role: 'group', 'aria-label': 'Which notifications' },
      VIEWS.map(([view, words]) => h('button', { type: 'button', 'data-view': view, 'aria-pressed': 'false', onclick: () => this.#show(view) }, words)));
    this.all = h('button', { class: 'tool', type: 'button', 'aria-label': 'Mark all as read', title: 'Mark all as read', onclick: () => this.#all() }, icon('two'));
    this.gear = h('button', { class: 'tool', type: 'button', 'aria-label': 'How to be told', title: 'How to be told', onclick: () => this.wishes(true) }, icon('gear'));
    this.list = h('div', { class: 'pings', role: 'list', 'aria-label': 'Notifications' });
    this.#rows = roving(this.list, '.ping');
    this.empty = h('p', { class: 'none' });
    this.tries = h('div', { class: 'tries', role: 'group', 'aria-label': 'Send, as the backend would' }, h('span', { 'aria-hidden': 'true' }, 'As your backend'),
      TRIES.map(([words, what, n]) => h('button', { type: 'button', 'data-what': `${what}${n > 1 ? n : ''}`, onclick: () => this.#send(what, n) }, icon(SIGNS[what]), words)));
    this.#wishes = new Wishes(person, { back: () => this.wishes(false) });
    this.inside = h('div', { class: 'inside' }, h('div', { class: 'under' }, this.tabs, this.all, this.gear), h('div', { class: 'pinged' }, this.list, this.empty), this.tries);
    this.root = h('div', { class: 'screen bells', role: 'group', 'aria-label': 'Notifications', onkeydown: (e) => this.#key(e) }, this.inside, this.#wishes.root);
    this.root.inert = true;
  }

  /** Of the view that is shown; each keeps itself as it is, once it was asked for. */
  #inbox(view = this.#view) {
    if (!this.#inboxes.has(view)) {
      const inbox = this.#person.kith.inbox({ state: view, limit: 30 });
      inbox.on('change', () => { this.#see(); this.#changed(); });
      inbox.on('error', () => {}); // away: it reads again when the connection is back
      this.#inboxes.set(view, inbox);
    }
    return this.#inboxes.get(view);
  }

  start() { this.#inbox('unarchived'); }
  unseen() { return this.#inboxes.get('unarchived')?.counts.unseen ?? 0; }

  toggle(open = !this.open) {
    this.open = open;
    if (!open) this.#wishes.show(false);
    this.root.classList.toggle('open', open);
    this.root.inert = !open;
    this.button.setAttribute('aria-expanded', String(open));
    this.#see();
    this.draw();
    this.#changed();
    if (open) (this.list.querySelector('.ping') ?? this.tabs.firstElementChild).focus({ preventScroll: true });
    else this.button.focus({ preventScroll: true });
  }

  wishes(show) {
    this.#wishes.show(show);
    this.inside.inert = show;
    if (!show) this.gear.focus({ preventScroll: true });
  }

  #show(view) {
    this.#view = view;
    this.#inbox();
    this.list.scrollTop = 0;
    this.#changed();
  }

  /** What lies open before somebody's eyes was seen. */
  #see() {
    const inbox = this.#inboxes.get('unarchived');
    if (!this.open || document.hidden || !inbox?.counts.unseen || !inbox.items.length || this.#person.cut || !this.root.isConnected) return;
    if (this.seeing) return;
    this.seeing = true;
    setTimeout(() => {
      this.seeing = false;
      if (this.open && inbox.counts.unseen && inbox.items.length) this.#mark('seen', { upto: inbox.items[0].id });
    }, 400);
  }

  #mark(mark, which) { return this.#inbox('unarchived').mark(mark, which).catch(() => {}); }

  #all() {
    const [newest] = this.#inbox('unarchived').items;
    if (newest) this.#mark('read', { upto: newest.id }).then(() => this.#told(`${this.#person.name} has read all`));
  }

  #click(n) {
    if (!n.clicked_at) this.#mark('clicked', n.id);
    if (n.workflow !== 'message' || !this.#person.conversations.has(n.object)) return;
    this.toggle(false);
    this.#opened(n.object);
  }

  #archive(n, e) {
    const next = e?.nextElementSibling ?? e?.previousElementSibling, held = e?.contains(document.activeElement);
    this.#mark('archived', n.id);
    if (held) (next?.querySelector('.ping') ?? this.tabs.firstElementChild).focus({ preventScroll: true });
  }

  #key(e) {
    if (e.key === 'Escape') {
      e.stopPropagation();
      if (this.#wishes.shown) this.wishes(false);
      else this.toggle(false);
    } else if (e.key === 'Delete' && e.target.matches('.ping')) {
      e.target.parentElement.querySelector('.stow')?.click();
    }
  }

  async #send(what, n) {
    const me = this.#person.id, others = CROWD.filter((id) => id !== me).sort(() => Math.random() - .5);
    const post = (actor, to, more = '') => fetch(`/demo/api/notifications?what=${what}&actor=${actor}${to ? `&to=${to}` : ''}${more}`, { method: 'POST' });
    if (what === 'train') {
      await post(others[0], me, `&n=${this.#minutes}`);
      this.#minutes = this.#minutes ? this.#minutes - 1 : 9;
    } else if (!n) await post(others[0]);
    else for (const actor of others.slice(0, n)) await post(actor, me);
  }

  // ---- drawing ----

  draw() {
    const unseen = this.unseen();
    say(this.badge, unseen ? String(unseen > 99 ? '99+' : unseen) : '');
    this.button.setAttribute('aria-label', `${this.#person.name}’s notifications${unseen ? `, ${unseen} unseen` : ''}`);
    if (!this.open) return;
    const inbox = this.#inbox();
    for (const tab of this.tabs.children) tab.setAttribute('aria-pressed', String(tab.dataset.view === this.#view));
    this.all.disabled = !this.#inbox('unarchived').counts.unread || this.#person.cut;
    for (const b of this.tries.querySelectorAll('button')) b.disabled = this.#person.state === 'connecting';
    keyed(this.list, inbox.items, (n) => n.id, (n) => this.#row(n.id), (e, n) => this.#fill(e, n));
    this.#rows();
    say(this.empty, inbox.loaded && !inbox.items.length ? EMPTY[this.#view] : '');
    this.#wishes.draw();
  }

  #row(id) {
    const now = () => this.#inbox().items.find((n) => n.id === id);
    const e = h('div', { class: 'pingrow', role: 'listitem' },
      h('button', { class: 'ping', type: 'button', tabindex: '-1', onclick: () => now() && this.#click(now()) },
        h('span', { class: 'faces', 'aria-hidden': 'true' }), h('span', { class: 'title', dir: 'auto' }), h('span', { class: 'line', dir: 'auto' }), h('time', {}), h('span', { class: 'dot', role: 'img' })),
      h('button', { class: 'tool stow', type: 'button', 'aria-label': 'Archive', title: 'Archive (Delete)', onclick: () => now() && this.#archive(now(), e) }, icon('box')));
    return e;
  }

  #fill(e, n) {
    const [ping, stow] = e.children, [faces, title, line, time, dot] = ping.children, seen = [n.trigger, n.actors?.count].join();
    if (e.dataset.is !== seen) {
      faces.replaceChildren(...this.#faces(n));
      if (e.dataset.is && !calm()) ping.animate([{ backgroundColor: 'color-mix(in oklab, var(--accent) 22%, transparent)' }, {}], { duration: 1200, easing: 'ease-out' });
      e.dataset.is = seen;
    }
    say(title, n.title);
    say(line, n.body);
    const at = n.updated_at ?? n.created_at;
    say(time, Date.now() - Date.parse(at) < LONG_AGO * 1000 ? 'now' : when(at));
    time.dateTime = at;
    e.classList.toggle('unread', !n.read_at);
    if (n.read_at) dot.removeAttribute('aria-label');
    else dot.setAttribute('aria-label', 'unread');
    dot.hidden = Boolean(n.read_at);
    stow.hidden = Boolean(n.archived_at);
  }

  #faces(n) {
    const who = n.actors?.newest.slice(0, FACES) ?? [];
    return [...who.map((id) => h('span', { class: 'face', style: { '--h': this.#people.get(id)?.hue ?? hueOf(id) } }, (this.#people.get(id)?.name ?? id).slice(0, 1).toUpperCase())),
      h('span', { class: `sign sign-${n.workflow}` }, icon(SIGNS[n.workflow] ?? 'bell'))];
  }
}
