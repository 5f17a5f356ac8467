// One HTTP call: the bearer, JSON both ways, problems as KithErrors, a new token after 401, and Retry-After honoured.
// SPDX-License-Identifier: Apache-2.0
import { KithError } from './problem.js';

const TRIES = 3;             // of what is answered 429 or 503
const PATIENCE = 10_000;     // what asks for a longer wait is not waited for
const sleep = (ms, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener('abort', () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
});

/** `/v1/users/{id}` with its parameters, and the query. */
export function pathOf(template, { path = {}, query } = {}) {
  const plain = template.replace(/\{(\w+)\}/g, (_, name) => {
    if (path[name] === undefined) throw new TypeError(`${template} needs ${name}`);
    return encodeURIComponent(path[name]);
  });
  const given = Object.entries(query ?? {}).filter(([, v]) => v !== undefined && v !== null);
  return given.length ? `${plain}?${new URLSearchParams(given.map(([k, v]) => [k, String(v)]))}` : plain;
}

async function problemOf(response) {
  let said = {};
  try { said = await response.json(); } catch { /* a proxy's page */ }
  const after = Number(response.headers.get('retry-after'));
  return new KithError({ type: `/problems/http-${response.status}`, title: response.statusText, ...said, status: response.status, retryAfter: after > 0 ? after * 1000 : undefined });
}

/** @param ask {url, fetch, timeout, token(refused?)}: `token` gives one, given a refused one a newer, or throws. */
export async function call(ask, method, path, { body, header, signal } = {}) {
  let token = await ask.token(), renewed = false;
  for (let attempt = 1; ; attempt++) {
    const response = await exchange(ask, method, path, { body, header, signal, token });
    if (response.ok) {
      const words = await response.text().catch((e) => { throw KithError.network(`${method} ${path}: ${e.message}`, e); });
      return !words ? null : response.headers.get('content-type')?.includes('json') ? JSON.parse(words) : words;
    }
    const problem = await problemOf(response);
    if (problem.status === 401 && !renewed) {
      renewed = true;
      const newer = await ask.token(token);
      if (newer !== token) { token = newer; continue; }
    }
    const wait = problem.retryAfter;
    if (!wait || wait > PATIENCE || attempt >= TRIES || (problem.status !== 429 && problem.status !== 503)) throw problem;
    await sleep(wait * (1 + Math.random() / 4), signal);
  }
}

async function exchange({ url, fetch, timeout }, method, path, { body, header, signal, token }) {
  const late = new AbortController(), stop = () => late.abort(signal.reason);
  const timer = setTimeout(() => late.abort(KithError.timeout(`${method} ${path} took more than ${timeout} ms`)), timeout);
  signal?.addEventListener('abort', stop, { once: true });
  const headers = { authorization: `Bearer ${token}`, ...header };
  if (body !== undefined) headers['content-type'] = 'application/json';
  try {
    return await fetch(url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: late.signal, cache: 'no-store' });
  } catch (e) {
    if (signal?.aborted) throw signal.reason;
    throw late.signal.reason instanceof KithError ? late.signal.reason : KithError.network(`${method} ${path}: ${e.cause?.message ?? e.message}`, e);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
