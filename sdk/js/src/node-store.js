// A store in a file, for Node: a line of JSON a change, written anew when most lines say nothing any more. A last line that
// was cut short is not read. One process has it at a time. SPDX-License-Identifier: Apache-2.0
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

const SLACK = 1000; // lines that may say nothing

export function fileStore(path) {
  let opened, lines = 0, last = Promise.resolve();
  const kept = new Map();

  async function open() {
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch((e) => { if (e.code === 'ENOENT') return ''; throw e; });
    for (const line of text.split('\n')) {
      let change;
      try { change = JSON.parse(line); } catch { continue; }
      lines++;
      if ('value' in change) kept.set(change.key, change.value);
      else kept.delete(change.key);
    }
    await anew();
  }
  async function anew() {
    await writeFile(`${path}.new`, [...kept].map(([key, value]) => JSON.stringify({ key, value }) + '\n').join(''), { mode: 0o600, flush: true });
    await rename(`${path}.new`, path);
    lines = kept.size;
  }
  const after = (act) => { // one after the other, whatever became of the one before
    const result = last.then(() => (opened ??= open())).then(act);
    last = result.catch(() => {});
    return result;
  };
  async function change(line) {
    await appendFile(path, JSON.stringify(line) + '\n');
    if (++lines > 2 * kept.size + SLACK) await anew();
  }
  return {
    list: (prefix) => after(() => [...kept].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => [key, structuredClone(value)])),
    set: (key, value) => after(() => { const v = JSON.parse(JSON.stringify(value)); kept.set(key, v); return change({ key, value: v }); }),
    delete: (key) => after(() => { if (kept.delete(key)) return change({ key }); return undefined; }),
  };
}
