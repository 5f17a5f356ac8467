// The HTTP calls that applications make most, each one line over `call`. SPDX-License-Identifier: Apache-2.0
import { Inbox } from './inbox.js';
import { subscribe, unsubscribe } from './push.js';

const nothing = () => {};

export class Calls {
  #own(method, rest, o) { return this.#user().then((id) => this.call(`${method} /v1/users/{id}${rest}`, { ...o, path: { id, ...o?.path } })); }
  #in(method, id, rest = '', o) { return this.call(`${method} /v1/conversations/{id}${rest}`, { ...o, path: { id, ...o?.path } }); }
  async #user() { if (!this.user) await this.ready(); return this.user; }
  #other(method, list, other) { return this.#own(method, `/${list}/{other}`, { path: { other } }).then(nothing); }

  conversations(query) { return this.#own('GET', '/conversations', { query }); }
  conversation(id) { return this.#in('GET', id); }
  putConversation(id, body) { return this.#in('PUT', id, '', { body }); }
  setConversation(c, body) { return this.#own('PUT', '/conversations/{c}', { path: { c }, body }); }
  members(id, query) { return this.#in('GET', id, '/members', { query }); }
  putMember(id, user, role) { return this.#in('PUT', id, '/members/{user}', { path: { user }, body: role ? { role } : {} }); }
  async removeMember(id, user) { await this.#in('DELETE', id, '/members/{user}', { path: { user: user ?? await this.#user() } }); }

  messages(id, query) { return this.#in('GET', id, '/messages', { query }); }
  message(id, m) { return this.#in('GET', id, '/messages/{m}', { path: { m } }); }
  replies(id, m, query) { return this.#in('GET', id, '/messages/{m}/replies', { path: { m }, query }); }
  edit(id, m, change) { return this.#in('PATCH', id, '/messages/{m}', { path: { m }, body: typeof change === 'string' ? { body: change } : change }); }
  delete(id, m) { return this.#in('DELETE', id, '/messages/{m}', { path: { m } }).then(nothing); }
  react(id, m, emoji) { return this.#in('PUT', id, '/messages/{m}/reactions/{emoji}', { path: { m, emoji } }); }
  unreact(id, m, emoji) { return this.#in('DELETE', id, '/messages/{m}/reactions/{emoji}', { path: { m, emoji } }).then(nothing); }
  receipts(id, query) { return this.#in('GET', id, '/receipts', { query }); }

  profile(user) { return user ? this.call('GET /v1/users/{id}', { path: { id: user } }) : this.#own('GET', ''); }
  putProfile(body) { return this.#own('PUT', '', { body }); }
  follow(user) { return this.#other('PUT', 'follows', user); }
  unfollow(user) { return this.#other('DELETE', 'follows', user); }
  follows(query) { return this.#own('GET', '/follows', { query }); }
  followers(query) { return this.#own('GET', '/followers', { query }); }
  block(user) { return this.#other('PUT', 'blocks', user); }
  unblock(user) { return this.#other('DELETE', 'blocks', user); }
  blocks(query) { return this.#own('GET', '/blocks', { query }); }
  mute(user) { return this.#other('PUT', 'mutes', user); }
  unmute(user) { return this.#other('DELETE', 'mutes', user); }
  mutes(query) { return this.#own('GET', '/mutes', { query }); }
  notifications(query) { return this.#own('GET', '/notifications', { query }); }
  mark(mark, which) { return this.#own('POST', `/notifications/${mark}`, { body: typeof which === 'string' ? { ids: [which] } : Array.isArray(which) ? { ids: which } : which }); }
  preferences() { return this.#own('GET', '/preferences'); }
  putPreferences(body) { return this.#own('PUT', '/preferences', { body }); }
  inbox(options) { return new Inbox(this, options); }
  subscribePush(registration) { return this.#user().then(() => subscribe(this, registration)); }
  unsubscribePush(registration) { return this.#user().then(() => unsubscribe(this, registration)); }

  mailbox(query) { return this.#own('GET', '/mailbox', { query }); }

  async *all(list) {
    let cursor;
    do {
      const page = await list(cursor);
      yield* page.items;
      cursor = page.next;
    } while (cursor);
  }
}
