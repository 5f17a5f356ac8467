// The token: the one that was given, or the newest of a function that gives them, asked again in time and when one was refused.
// Keeps: the function is asked once at a time. SPDX-License-Identifier: Apache-2.0
import { KithError } from './problem.js';

const REFUSALS_MAX = 3;   // of new tokens, one after the other
const UNKNOWN = 300_000;  // for which a token is thought to hold, where nothing that can be believed says it
const decoder = new TextDecoder();

/** What a JWT says; nothing of another's token: the server knows. */
export function claimsOf(token) {
  try {
    return JSON.parse(decoder.decode(Uint8Array.from(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

export class Tokens {
  #give; #about; #learned; #text; #until = 0; #renewal; #refused = 0;

  /** give: a token, or the function; about() is what that is asked with; learned(claims) hears what a new one says. */
  constructor(give, about, learned) {
    this.given = typeof give === 'string';
    this.#give = give;
    this.#about = about;
    this.#learned = learned;
  }

  /** One that is good, and not the one that was refused. */
  async now(refused) {
    if (this.given) return this.#give;
    if (this.#text && this.#text !== refused && Date.now() < this.#until) return this.#text;
    this.#renewal ??= this.#fresh().finally(() => { this.#renewal = undefined; });
    return this.#renewal;
  }

  /** Milliseconds until a new one is due. */
  get left() { return this.given ? Infinity : Math.max(0, this.#until - Date.now()); }

  /** The server did not take it: `now` and `later` say when to try a new one, `end` that none helps. */
  refused() {
    this.#until = 0;
    if (this.given || ++this.#refused > REFUSALS_MAX) return 'end';
    return this.#refused === 1 ? 'now' : 'later';
  }
  taken() { this.#refused = 0; }

  /** It is another device's. */
  forget() { this.#text = undefined; }

  async #fresh() {
    let said;
    try {
      said = await this.#give(this.#about());
    } catch (e) {
      throw e instanceof KithError ? e : new KithError({ type: '/problems/token', title: 'No token could be had', detail: String(e?.message ?? e) }, e);
    }
    const text = typeof said === 'string' ? said : said?.token;
    if (!text) throw new KithError({ type: '/problems/token', title: 'No token could be had', detail: 'the function that gives tokens gave none' });
    const claims = claimsOf(text), now = Date.now();
    const ends = said?.expires_at ? Date.parse(said.expires_at) : claims.exp ? claims.exp * 1000 : Infinity;
    // new and past already: this clock is wrong, and says nothing of the end; how long it holds, the token says
    const left = ends > now ? ends - now : (claims.exp - claims.iat) * 1000 || UNKNOWN;
    // a new one is asked for a minute before, or when a fifth is left
    this.#until = now + left - Math.min(60_000, left / 5);
    this.#text = text;
    this.#learned(claims);
    return text;
  }
}
