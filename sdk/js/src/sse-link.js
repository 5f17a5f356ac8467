// One Server-Sent Events stream over fetch, for networks that let no WebSocket through: same face as MqttLink, where it
// can be. Entries come live or behind `after`; what is sent goes by HTTP. SPDX-License-Identifier: Apache-2.0
import { KithError } from './problem.js';

const SILENCE = 40_000; // kith says something every 15 seconds

/** Text as it comes, however it is cut -> events {id, event, data} (HTML standard, 9.2.6). */
export class EventParser {
  #rest = ''; #data = []; #event = ''; lastId = '';

  push(text) {
    const events = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line) this.#field(line);
      else {
        if (this.#data.length) events.push({ id: this.lastId, event: this.#event || 'message', data: this.#data.join('\n') });
        this.#data = [];
        this.#event = '';
      }
    }
    return events;
  }

  #field(line) {
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#event = value;
    else if (name === 'id' && !value.includes('\0')) this.lastId = value;
  }
}

export class SseLink {
  kind = 'sse';
  #o; #stop = new AbortController(); #parser = new EventParser(); #heard = 0; #watch; #ended = false;

  /** o: {url (of the stream), token, after?, fetch, timeout}; on: {event({event, data}), end(KithError)} */
  constructor(o, on) { this.#o = o; this.on = on; }

  /** Resolves when the stream is open, with the cursor where it begins, if it begins now. */
  async open() {
    const { url, token, after, fetch, timeout } = this.#o;
    const late = setTimeout(() => this.#stop.abort(KithError.timeout('the stream did not open')), timeout);
    let response;
    try {
      response = await fetch(url, { headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', ...(after && { 'last-event-id': after }) }, signal: this.#stop.signal, cache: 'no-store' });
    } catch (e) {
      throw this.#stop.signal.reason instanceof KithError ? this.#stop.signal.reason : KithError.network(`${url}: ${e.cause?.message ?? e.message}`, e);
    } finally {
      clearTimeout(late);
    }
    if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      const seconds = Number(response.headers.get('retry-after'));
      throw new KithError({ type: `/problems/http-${response.status}`, ...said, status: response.status, retryAfter: seconds ? seconds * 1000 : undefined });
    }
    this.#heard = Date.now();
    this.#watch = setInterval(() => { if (Date.now() - this.#heard > SILENCE) this.#end(KithError.timeout('the stream fell silent')); }, 5000);
    this.#read(response.body.getReader());
    return response.headers.get('kith-cursor') ?? undefined;
  }

  async #read(reader) {
    const words = new TextDecoder();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || this.#ended) break;
        this.#heard = Date.now();
        for (const e of this.#parser.push(words.decode(value, { stream: true }))) this.on.event(e);
      }
      this.#end(KithError.network('the stream ended'));
    } catch (e) {
      this.#end(KithError.network(`the stream broke: ${e?.message ?? e}`, e));
    }
  }

  /** A stream cannot be asked; a comment comes every 15 seconds. */
  probe() { if (Date.now() - this.#heard > 20_000) this.#end(KithError.timeout('the connection is dead')); }

  close() { this.#end(KithError.network('closed')); }

  #end(problem) {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#watch);
    this.#stop.abort(problem);
    this.on.end(problem);
  }
}
