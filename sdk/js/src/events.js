// Who wants to hear what. A handler that fails harms no other; its error goes where uncaught ones go.
// SPDX-License-Identifier: Apache-2.0

const uncaught = (e) => (globalThis.reportError ? globalThis.reportError(e) : queueMicrotask(() => { throw e; }));

export class Events {
  #handlers = new Map();

  on(event, handler) {
    if (typeof handler !== 'function') throw new TypeError('a handler is a function');
    if (!this.#handlers.has(event)) this.#handlers.set(event, new Set());
    this.#handlers.get(event).add(handler);
    return () => this.off(event, handler);
  }

  once(event, handler) {
    const off = this.on(event, (value) => { off(); return handler(value); });
    return off;
  }

  off(event, handler) { this.#handlers.get(event)?.delete(handler); }

  /** Nothing, or a promise that resolves when all handlers that gave one are done. */
  emit(event, value) {
    const waits = [];
    for (const handler of [...this.#handlers.get(event) ?? []]) {
      try {
        const result = handler(value);
        if (typeof result?.then === 'function') waits.push(result.then(() => {}, uncaught));
      } catch (e) {
        uncaught(e);
      }
    }
    return waits.length ? Promise.all(waits) : undefined;
  }
}
