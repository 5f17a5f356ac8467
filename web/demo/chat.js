// One conversation on a phone: its messages, what one may do with each, and the place to write. SPDX-License-Identifier: Apache-2.0
import { calm, clock, day, dayOf, h, icon, keyed, roving, say } from '/demo/dom.js';
import { face, nameOf, titleOf } from '/demo/pane.js';

const EMOJI = ['👍', '❤️', '😂', '😮', '🎉', '🙏'];
const TOGETHER_MS = 5 * 60_000; // messages of one sender within it stand close together
const NAMED = 4;                // so many are named, more are counted
const NEAR = 80;                // pixels from the end within which the newest stays in view
const ONE = String.raw`(?:\p{RI}{2}|\p{Extended_Pictographic}(?:\uFE0F|\p{EMod})?(?:\u200D\p{Extended_Pictographic}(?:\uFE0F|\p{EMod})?)*)`;
const SIGNS = new RegExp(`^${ONE}{1,3}$`, 'u'); // so few, and nothing else, are shown large
const TICKS = { queued: ['clock', 'Waits for the connection'], refused: ['fail', 'Refused'], stored: ['one', 'Sent'], delivered: ['two', 'Delivered'], read: ['two', 'Read'] };

const filled = new WeakMap(); // the element of a message: what it shows

export class Chat {
  #person; #people; #app; #id = null; #rows; #answering = null; #editing = null; #stick = true; #face;

  constructor(person, people, app, { back }) {
    this.#person = person;
    this.#people = people;
    this.#app = app;
    this.badge = h('span', { class: 'badge', 'aria-hidden': 'true' });
    this.title = h('h3', { dir: 'auto' });
    this.sub = h('p', { class: 'sub' });
    this.log = h('div', { class: 'log', role: 'list', 'aria-label': 'Messages' });
    this.scroll = h('div', { class: 'scroll', onscroll: () => this.#scrolled() }, this.log);
    this.#rows = roving(this.log, '.bubble', { last: true });
    this.log.addEventListener('keydown', (e) => this.#key(e));
    this.log.addEventListener('click', (e) => this.#clicked(e));
    this.newest = h('button', { class: 'newest round', type: 'button', 'aria-label': 'To the newest message', hidden: true, onclick: () => this.#toEnd(true) }, icon('down'));
    this.about = h('div', { class: 'about', hidden: true }, h('p', {}), h('button', { type: 'button', class: 'round', 'aria-label': 'Leave it', onclick: () => this.#reset() }, icon('close')));
    this.field = h('textarea', { rows: '1', dir: 'auto', placeholder: 'Message', 'aria-label': `Message of ${person.name}`, oninput: () => this.#typed(), onkeydown: (e) => this.#fieldKey(e), enterkeyhint: 'send' });
    this.button = h('button', { class: 'send', type: 'submit', 'aria-label': 'Send' }, icon('send'));
    this.form = h('form', { class: 'write', onsubmit: (e) => { e.preventDefault(); this.#send(); } }, this.field, this.button);
    this.strip = h('p', { class: 'strip' });
    this.#face = h('span', { class: 'at' });
    this.root = h('div', { class: 'screen chat' },
      h('div', { class: 'under' }, h('button', { class: 'back', type: 'button', 'aria-label': 'Back to the conversations', onclick: back }, icon('back'), this.badge), this.#face, h('div', { class: 'names' }, this.title, this.sub)),
      this.scroll, this.newest, this.strip, this.about, this.form);
    new ResizeObserver(() => { if (this.#stick) this.#toEnd(false); }).observe(this.scroll);
  }

  get #c() { return this.#id === null ? undefined : this.#person.conversations.get(this.#id); }

  show(id) {
    if (id !== this.#id) this.#reset();
    this.#id = id;
    if (id === null) return;
    this.log.replaceChildren();
    this.#stick = true;
    this.#person.open(id);
    this.draw();
  }

  focus() { this.field.focus({ preventScroll: true }); }

  draw() {
    const p = this.#person, c = this.#c;
    const elsewhere = p.unread() - (c?.unread ?? 0);
    say(this.badge, elsewhere ? String(elsewhere) : '');
    this.badge.parentElement.setAttribute('aria-label', `Back to the conversations${elsewhere ? `, ${elsewhere} unread` : ''}`);
    if (!c) return;
    if (!c.opened) p.open(c.id);
    say(this.title, titleOf(this.#people, c, p.id));
    if (this.#face.dataset.of !== c.id) {
      this.#face.dataset.of = c.id;
      this.#face.replaceChildren(face(this.#people, c, p.id));
    }
    this.#face.firstChild.classList.toggle('on', c.type === 'direct' && p.others(c).some((u) => p.isOnline(u)));
    const typing = [...c.typing.keys()].map((u) => nameOf(this.#people, u));
    const online = p.others(c).filter((u) => p.isOnline(u)).length;
    say(this.sub, p.cut ? 'no connection' : p.state !== 'online' ? 'connecting…' : typing.length ? `${typing.join(' and ')} ${typing.length > 1 ? 'are' : 'is'} typing…` : c.type === 'direct' ? (online ? 'online' : 'not online') : `${c.members.length} people, ${online + 1} online`);
    this.sub.classList.toggle('typing', p.state === 'online' && typing.length > 0);
    const queued = p.queued(), waiting = this.#app.waitingFor(p.id);
    say(this.strip, p.cut ? [queued && `${queued} of yours wait${queued === 1 ? 's' : ''} here`, waiting && `${waiting} wait${waiting === 1 ? 's' : ''} at the server`].filter(Boolean).join(' · ') || 'No connection. Write on: it waits here' : '');
    this.#messages(c);
    if (p.state === 'online' && document.visibilityState === 'visible' && this.#app.isShown(p.id)) p.read(c);
  }

  #messages(c) {
    const items = [];
    let before, date, away = c.away === null;
    for (const m of this.#person.messages(c)) {
      const own = m.from === this.#person.id, its = m.created_at && dayOf(m.created_at);
      if (its && its !== date && (date || its !== dayOf(Date.now()))) {
        items.push({ key: `day-${its}`, line: day(m.created_at), day: true });
        before = undefined;
      }
      date = its ?? date;
      if (!away && !own && m.seq > c.away && !this.#person.cut) {
        away = true;
        items.push({ key: `away-${c.away}`, line: 'While you were away' });
        before = undefined;
      }
      const close = before && before.from === m.from && !before.deleted_at && Date.parse(m.created_at) - Date.parse(before.created_at) < TOGETHER_MS;
      items.push({ key: m.id, m, own, close });
      before = m;
    }
    const stick = this.#stick, top = this.log.firstElementChild, topAt = top?.offsetTop;
    keyed(this.log, items, (i) => i.key, (i) => (i.line ? h('p', { class: `mark-line ${i.day ? 'day' : ''}`, role: 'separator' }, h('span', {}, i.line)) : this.#bubble(i)), (e, i) => { if (i.m) this.#fill(e, i, c); });
    this.#rows();
    if (stick) this.#toEnd(false);
    else if (top?.isConnected && top.offsetTop !== topAt) this.scroll.scrollTop += top.offsetTop - topAt;
    this.newest.hidden = stick;
  }

  #bubble({ m, own }) {
    return h('div', { class: `message ${own ? 'own' : ''} ${this.#isNew(m) ? 'fresh' : ''}`, role: 'listitem' },
      h('div', { class: 'bubble', tabindex: '-1', role: 'group', style: { '--h': this.#people.get(m.from)?.hue ?? 200 } },
        h('span', { class: 'sender', dir: 'auto' }), h('button', { class: 'quote', type: 'button', dir: 'auto', tabindex: '-1', hidden: true }), h('span', { class: 'body' }),
        h('span', { class: 'meta' }, h('span', { class: 'edited' }), h('time', {}), h('span', { class: 'tick', role: 'img' })),
        h('button', { class: 'act', type: 'button', tabindex: '-1', 'aria-label': 'What to do with this message' }, icon('more'))),
      h('div', { class: 'reactions' }));
  }

  #isNew(m) { return Date.now() - Date.parse(m.created_at) < 4000 || this.#person.catchingUp; }

  /** Only what has changed: of hundreds, one has. */
  #fill(e, { m, own, close }, c) {
    const p = this.#person, to = m.reply_to && c.messages.get(m.reply_to), progress = own ? p.progress(c, m) : {};
    const is = [m, close, to, progress.is, progress.readers?.length, progress.holders?.length, Object.keys(m.reactions ?? {}).filter((emoji) => p.reacted(m, emoji)).join()];
    if (filled.get(e)?.every((was, i) => was === is[i])) return;
    filled.set(e, is);
    const [bubble, reactions] = e.children, gone = Boolean(m.deleted_at || m.hidden);
    const part = (name) => bubble.querySelector(`.${name}`);
    e.classList.toggle('close', Boolean(close));
    e.classList.toggle('gone', gone);
    say(part('sender'), own || c.type === 'direct' || close || gone ? '' : nameOf(this.#people, m.from));
    part('quote').hidden = !to || gone;
    if (to) {
      part('quote').dataset.to = to.id;
      part('quote').style.setProperty('--h', this.#people.get(to.from)?.hue ?? 200);
      say(part('quote'), `${nameOf(this.#people, to.from)}: ${to.deleted_at ? 'deleted' : to.body ?? ''}`);
    }
    say(part('body'), m.deleted_at ? 'Deleted' : m.hidden ? 'Hidden' : m.body ?? 'Something that is no text');
    e.classList.toggle('large', !gone && SIGNS.test(m.body ?? ''));
    say(part('edited'), m.edited_at && !gone ? 'edited' : '');
    say(part('time') ?? bubble.querySelector('time'), m.created_at ? clock(m.created_at) : '');
    bubble.dataset.id = m.id;
    const what = own && !gone ? this.#tick(part('tick'), progress, m) : '';
    if (gone || !own) part('tick').hidden = true;
    bubble.setAttribute('aria-label', `${own ? 'You' : nameOf(this.#people, m.from)}: ${part('body').textContent}${what ? `. ${what}` : ''}`);
    part('act').hidden = gone || (m.state !== undefined && m.state !== 'refused');
    keyed(reactions, gone ? [] : Object.entries(m.reactions ?? {}), ([emoji]) => emoji,
      ([emoji]) => h('button', { type: 'button', tabindex: '-1', onclick: () => this.#react(m.id, emoji) }, h('span', {}, emoji), h('span', { class: 'n' })),
      (b, [emoji, n]) => {
        say(b.lastChild, n > 1 ? String(n) : '');
        b.setAttribute('aria-pressed', String(p.reacted(m, emoji)));
        b.setAttribute('aria-label', `${emoji} ${n}`);
      });
  }

  #tick(e, { is, readers = [], holders = [], of = 0 }, m) {
    const [name, words] = TICKS[is];
    let what = is === 'refused' ? m.problem?.detail || words : words;
    const who = (users) => (users.length > NAMED ? `${users.length} of ${of}` : users.map((u) => nameOf(this.#people, u)).join(', '));
    if (is === 'stored' && of > 1 && holders.length) what = `Sent; delivered to ${who(holders)}`;
    if (is === 'delivered' && of > 1 && readers.length) what = `Delivered; read by ${who(readers)}`;
    e.hidden = false;
    if (e.dataset.is !== is) {
      e.dataset.is = is;
      e.replaceChildren(icon(name));
    }
    e.setAttribute('aria-label', what);
    e.title = what;
    return what;
  }

  // ---- what one does ----

  #message(id) { return this.#c?.messages.get(id) ?? this.#c?.pending.get(id); }
  #react(id, emoji) {
    const m = this.#message(id);
    if (this.#person.state === 'online') this.#person.react(m, emoji);
  }

  #clicked(event) {
    const quote = event.target.closest('.quote'), bubble = event.target.closest('.bubble');
    if (quote) {
      const to = this.log.querySelector(`.bubble[data-id="${CSS.escape(quote.dataset.to)}"]`);
      to?.scrollIntoView({ block: 'center', behavior: calm() ? 'auto' : 'smooth' });
      to?.focus({ preventScroll: true });
    } else if (bubble && (event.target.closest('.act, .tick') || matchMedia('(hover: none)').matches)) this.#menu(bubble);
  }

  #key(event) {
    const bubble = event.target.closest('.bubble');
    if (!bubble || event.target !== bubble || event.ctrlKey || event.metaKey || event.altKey) return;
    const id = bubble.dataset.id, m = this.#message(id);
    const act = { Enter: () => this.#menu(bubble), ' ': () => this.#menu(bubble), r: () => this.#reply(m), e: () => this.#edit(m), j: () => this.#app.follow(this.#person, m), Delete: () => this.#remove(m), Escape: () => this.focus() }[event.key];
    if (!act || !m) return;
    event.preventDefault();
    act();
  }

  #menu(bubble) {
    const m = this.#message(bubble.dataset.id), p = this.#person;
    if (!m || m.deleted_at || m.hidden || (m.state && m.state !== 'refused')) return;
    if (m.state) {
      return void this.#app.menu(bubble, [{ words: 'Try again', key: '', icon: 'send', act: () => p.retry(m) }, { words: 'Discard', key: 'Del', icon: 'trash', act: () => this.#remove(m), danger: true }], p.hue);
    }
    const online = p.state === 'online', own = m.from === p.id;
    this.#app.menu(bubble, [
      EMOJI.map((emoji) => ({ emoji, act: () => this.#react(m.id, emoji), off: !online, on: p.reacted(m, emoji) })),
      { words: 'Reply', key: 'R', icon: 'reply', act: () => this.#reply(m) },
      own && { words: 'Edit', key: 'E', icon: 'edit', act: () => this.#edit(m), off: !online },
      { words: 'Follow its journey', key: 'J', icon: 'road', act: () => this.#app.follow(p, m) },
      own && { words: 'Delete', key: 'Del', icon: 'trash', act: () => this.#remove(m), off: !online, danger: true },
    ].filter(Boolean), p.hue);
  }

  #reply(m) {
    if (!m || m.deleted_at || m.state === 'refused') return;
    this.#reset();
    this.#answering = m;
    this.#aboutIs(`Reply to ${nameOf(this.#people, m.from)}`, m.body ?? '');
  }

  #edit(m) {
    if (!m || m.from !== this.#person.id || m.deleted_at || m.state || this.#person.state !== 'online') return;
    this.#reset();
    this.#editing = m;
    this.field.value = m.body ?? '';
    this.#aboutIs('Edit', m.body ?? '');
  }

  #remove(m) {
    if (m?.state === 'refused') this.#person.discard(m);
    else if (m && m.from === this.#person.id && !m.state && !m.deleted_at && this.#person.state === 'online') this.#person.remove(m);
  }

  #aboutIs(what, body) {
    this.about.firstChild.replaceChildren(h('b', {}, what), h('span', { dir: 'auto' }, body));
    this.about.hidden = false;
    this.focus();
  }

  #reset() {
    if (this.#editing) this.field.value = '';
    this.#answering = this.#editing = null;
    this.about.hidden = true;
  }

  #typed() {
    if (this.field.value && !this.#editing && this.#id) this.#person.typing(this.#id);
  }

  #fieldKey(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === 'Escape' && !this.about.hidden) {
      event.stopPropagation();
      this.#reset();
    } else if (event.key === 'ArrowUp' && !this.field.value) {
      const bubbles = this.log.querySelectorAll('.bubble');
      if (!bubbles.length) return;
      event.preventDefault();
      bubbles[bubbles.length - 1].focus();
    }
  }

  async #send() {
    const body = this.field.value.trim();
    if (!body || !this.#c) return;
    const editing = this.#editing, reply = this.#answering;
    this.field.value = '';
    this.#reset();
    this.#stick = true;
    if (editing) {
      if (body !== editing.body) await this.#person.edit(editing, body);
    } else this.#person.send(this.#id, { body, ...(reply && { reply_to: reply.id }) });
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    this.#stick = scrollHeight - scrollTop - clientHeight < NEAR;
    this.newest.hidden = this.#stick;
    if (scrollTop < NEAR && !this.#stick && this.#c) this.#person.older(this.#c).catch(() => {});
  }

  #toEnd(smooth) {
    this.scroll.scrollTo({ top: this.scroll.scrollHeight, behavior: smooth && !calm() ? 'smooth' : 'instant' });
  }
}
