// What the scripts here share: a device of a user that is told what to do by lines of JSON on standard input,
// {"act": name, ...}, and answers each with {"value"} or {"error"}; and its way to the server. The library it stands on
// lies in PEER_HOME; PEER_ABOUT says who it is.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

export const about = JSON.parse(process.env.PEER_ABOUT);
const library = createRequire(process.env.PEER_HOME + '/');
export const load = (name) => import(pathToFileURL(library.resolve(name)).href);
export const base64 = (bytes) => Buffer.from(bytes).toString('base64');
export const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
export const check = (good, words) => {
  if (!good) throw new Error(words);
};

let base;

export async function call(method, path, body, status = [200, 201, 204]) {
  const answer = await fetch(base + path, {
    method,
    headers: { authorization: `Bearer ${about.token}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  check([status].flat().includes(answer.status), `${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

// All messages of the device's mailbox since the last call, oldest first.
let cursor;
export async function arrived() {
  const out = [];
  for (;;) {
    const page = await call('GET', `/v1/users/${about.user}/mailbox?limit=200` + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''));
    for (const entry of page.items) {
      if (entry.type === 'message' && entry.event === 'created') out.push(entry.message);
      cursor = entry.cursor;
    }
    if (!page.next || !page.items.length) return out;
  }
}

export async function serve(acts) {
  acts.server = ({ port }) => {
    base = `http://127.0.0.1:${port}`;
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const { act, ...args } = JSON.parse(line);
    let said;
    try {
      said = { value: (await acts[act](args)) ?? null };
    } catch (e) {
      said = { error: String(e?.stack ?? e) };
    }
    process.stdout.write(JSON.stringify(said) + '\n');
  }
}
