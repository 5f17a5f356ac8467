// Who is online, where devices say so again and again: heartbeats of others become two events, who comes, and who goes or falls
// silent; who comes is answered, so that they know at once who is there. SPDX-License-Identifier: Apache-2.0

const SILENCE = 2.5;  // heartbeats
const ANSWER = 1000;  // ms within which who comes is answered, each at a time of its own

export class Presence {
  #o; #every; #beat; #others = new Map();

  /** every: ms between heartbeats; o: {say(online), changed({user, online}), me()} */
  constructor(every, o) { this.#every = every; this.#o = o; }

  begin() {
    this.pause();
    this.#o.say(true);
    this.#beat = setInterval(() => this.#o.say(true), this.#every);
  }

  pause() { clearInterval(this.#beat); }

  end() {
    this.pause();
    for (const timer of this.#others.values()) clearTimeout(timer);
    this.#others.clear();
  }

  heard(user, online) {
    const known = this.#others.has(user);
    clearTimeout(this.#others.get(user));
    if (online) this.#others.set(user, setTimeout(() => this.heard(user, false), this.#every * SILENCE));
    else this.#others.delete(user);
    if (online === known) return;
    this.#o.changed({ user, online });
    if (online && user !== this.#o.me()) setTimeout(() => this.#o.say(true), Math.random() * ANSWER);
  }
}
