// How far the user has read, and how far this device has what a stream brought: the newest mark of each conversation, told when there
// is a connection. Reading is kept in the store until it was told. SPDX-License-Identifier: Apache-2.0
import { asKithError } from './problem.js';

const GATHER = 50; // ms in which deliveries become one mark
const KEY = 'read:';

export class Marks {
  #o; #store; #reads = new Map(); #telling = false; #delivered = new Map(); #busy = new Set();

  /** o: {tell(conversation, marks) -> promise, online(), failed(KithError)} */
  constructor(o) { this.#o = o; }

  async load(store) {
    this.#store = store;
    for (const [key, seq] of await store.list(KEY)) this.#read(key.slice(KEY.length), seq);
  }

  read(conversation, seq) {
    if (!this.#read(conversation, seq)) return;
    this.#store?.set(KEY + conversation, seq).catch(() => {});
    this.#tellReads();
  }

  /** What a PUBACK does for MQTT, a stream's client does itself. */
  delivered(conversation, seq) {
    if (seq > (this.#delivered.get(conversation) ?? 0)) this.#delivered.set(conversation, seq);
    this.#tellDelivered();
  }

  /** There is a connection. */
  tell() {
    this.#tellReads();
    this.#tellDelivered();
  }

  #read(conversation, seq) {
    if (!(seq > (this.#reads.get(conversation) ?? 0))) return false;
    this.#reads.set(conversation, seq);
    return true;
  }

  async #tellReads() {
    if (!this.#o.online() || this.#telling) return;
    this.#telling = true;
    let wait = 0;
    for (const [conversation, seq] of [...this.#reads]) {
      try {
        await this.#o.tell(conversation, { read: seq });
      } catch (e) {
        if (asKithError(e).temporary) { wait = e.retryAfter ?? 2000; break; }
        this.#o.failed(asKithError(e));
      }
      if (this.#reads.get(conversation) !== seq) { wait ||= 1; continue; } // it moved on meanwhile
      this.#reads.delete(conversation);
      this.#store?.delete(KEY + conversation).catch(() => {});
    }
    this.#telling = false;
    if (wait) setTimeout(() => this.#tellReads(), wait);
  }

  #tellDelivered() {
    for (const conversation of this.#delivered.keys()) {
      if (this.#busy.has(conversation)) continue;
      this.#busy.add(conversation);
      setTimeout(() => this.#tellOne(conversation), GATHER);
    }
  }

  async #tellOne(conversation) {
    const seq = this.#delivered.get(conversation);
    let problem;
    try {
      await this.#o.tell(conversation, { delivered: seq });
    } catch (e) {
      problem = asKithError(e);
    }
    this.#busy.delete(conversation);
    if (problem?.temporary) return; // with the next one, or the next connection
    if (this.#delivered.get(conversation) === seq) this.#delivered.delete(conversation);
    else this.#tellDelivered();
  }
}
