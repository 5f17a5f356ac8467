// Where small JSON values are kept by key: in memory, or in the browser's IndexedDB. SPDX-License-Identifier: Apache-2.0

export function memoryStore() {
  const kept = new Map();
  return {
    list: async (prefix) => [...kept].filter(([key]) => key.startsWith(prefix)).map(([key, v]) => [key, JSON.parse(v)]),
    set: async (key, value) => void kept.set(key, JSON.stringify(value)),
    delete: async (key) => void kept.delete(key),
  };
}

const settled = (request) => new Promise((done, fail) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => fail(request.error);
});

/** Several tabs may use one at the same time: each key is written on its own. What was begun is committed at once, also if the page goes. */
export function indexedDBStore(name) {
  let opened;
  async function open() {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore('kept');
    const db = await settled(request);
    db.onversionchange = db.onclose = () => { db.close(); opened = undefined; };
    return db;
  }
  async function keeping(mode, act) {
    const db = await (opened ??= open().catch((e) => { opened = undefined; throw e; }));
    const work = db.transaction('kept', mode, { durability: 'relaxed' });
    if (mode === 'readonly') return act(work.objectStore('kept'));
    act(work.objectStore('kept'));
    work.commit?.();
    return new Promise((done, fail) => { work.oncomplete = () => done(); work.onabort = work.onerror = () => fail(work.error); });
  }
  const range = (prefix) => IDBKeyRange.bound(prefix, prefix + '\uffff');
  return {
    list: (prefix) => keeping('readonly', async (kept) => {
      const [keys, values] = await Promise.all([settled(kept.getAllKeys(range(prefix))), settled(kept.getAll(range(prefix)))]);
      return keys.map((key, i) => [key, values[i]]);
    }),
    set: (key, value) => keeping('readwrite', (kept) => void kept.put(value, key)),
    delete: (key) => keeping('readwrite', (kept) => void kept.delete(key)),
  };
}
