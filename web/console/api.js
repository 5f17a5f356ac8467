// Calls of the server with the operator's key. The key lives in this tab's sessionStorage and in a header; never in a URL.
// SPDX-License-Identifier: Apache-2.0

const PLACE = 'kith-console-key';

/** What the server answered with, when it was not what was asked for. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail || problem?.title || `the server answered ${status}`);
    this.status = status;
    this.code = (problem?.type ?? '').replace('/problems/', '');
  }
}

export const key = {
  get: () => sessionStorage.getItem(PLACE) ?? '',
  set: (value) => sessionStorage.setItem(PLACE, value),
  forget: () => sessionStorage.removeItem(PLACE),
};

async function ask(method, path, signal) {
  const answer = await fetch(path, { method, headers: { Authorization: `Bearer ${key.get()}` }, cache: 'no-store', signal });
  const text = await answer.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (!answer.ok || body === undefined) throw new Refused(answer.status, body);
  return body;
}

/** GET as JSON. Throws Refused, or a TypeError when the server cannot be reached. */
export const get = (path, signal) => ask('GET', path, signal);
/** POST without a body. Throws likewise. */
export const post = (path) => ask('POST', path);

/** An id as part of a path. */
export const part = (id) => encodeURIComponent(id);
