// The last hour, as /v1/flow tells it: columns of whole numbers, a point a second.
// SPDX-License-Identifier: Apache-2.0

const KEPT = 3600;

/** Numbers at the end, the oldest given up; read as one array without copying. */
class Column {
  constructor() {
    this.cells = new Float64Array(2 * KEPT);
    this.end = 0;
  }
  add(value) {
    if (this.end === this.cells.length) {
      this.cells.copyWithin(0, this.end - KEPT);
      this.end = KEPT;
    }
    this.cells[this.end++] = value;
  }
  get values() {
    return this.cells.subarray(Math.max(0, this.end - KEPT), this.end);
  }
}

/** Differences added up; what is left out at the end is 0. */
export function whole(steps, n) {
  const out = new Array(n);
  let value = 0;
  for (let i = 0; i < n; i++) out[i] = value += steps[i] ?? 0;
  return out;
}

export class Past {
  constructor() {
    this.clear();
  }
  clear() {
    this.at = new Column();
    this.columns = new Map();
    this.last = 0; // number of the newest point
  }
  /** Takes what an answer has beyond what is here; begins anew where the server did. */
  take(history) {
    if (history.count && history.first !== this.last + 1) this.clear();
    for (const at of whole(history.at, history.count)) this.at.add(at);
    for (const [name, steps] of Object.entries(history.columns)) {
      let column = this.columns.get(name);
      if (!column) this.columns.set(name, (column = new Column()));
      for (const value of whole(steps, history.count)) column.add(value);
    }
    if (history.count) this.last = history.first + history.count - 1;
  }
  get times() {
    return this.at.values;
  }
  get length() {
    return this.times.length;
  }
  column(name) {
    return this.columns.get(name)?.values;
  }
  /** The newest value; NaN: none. */
  newest(name) {
    const v = this.column(name);
    return v?.length ? v[v.length - 1] : NaN;
  }
  sum(name) {
    let n = 0;
    for (const v of this.column(name) ?? []) n += v;
    return n;
  }
}

/** The first index whose time is not before `t`. */
export function indexAt(times, t) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (times[mid] < t) low = mid + 1;
    else high = mid;
  }
  return low;
}
