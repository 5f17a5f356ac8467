// Numbers for people: short, of even width, with their unit.
// SPDX-License-Identifier: Apache-2.0

const group = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const minute = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** 950, 12,340, 1.23 M */
export function count(n) {
  if (!Number.isFinite(n)) return '–';
  if (Math.abs(n) < 100000) return group.format(n);
  return Math.abs(n) < 1e6 ? `${(n / 1e3).toFixed(0)} k` : Math.abs(n) < 1e9 ? `${(n / 1e6).toFixed(2)} M` : `${(n / 1e9).toFixed(2)} G`;
}

const three = (v) => (v < 10 ? v.toFixed(2) : v < 100 ? v.toFixed(1) : v.toFixed(0));

/** From microseconds: 840 µs, 1.25 ms, 2.40 s */
export function micros(us) {
  if (!Number.isFinite(us)) return '–';
  if (us < 1) return us > 0 ? '<1 µs' : '0 µs';
  if (us < 1000) return `${us < 10 && us % 1 ? us.toFixed(1) : us.toFixed(0)} µs`;
  return us < 1e6 ? `${three(us / 1e3)} ms` : us < 1e8 ? `${three(us / 1e6)} s` : span(us / 1e6);
}
export const millis = (ms) => (Number.isFinite(ms) ? micros(ms * 1000) : '–');

/** 512 B, 1.50 KiB, 12.3 MiB */
export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  for (; Math.abs(n) >= 1024 && i < 5; i++) n /= 1024;
  return `${i ? three(n) : n.toFixed(0)} ${units[i]}`;
}
export const kib = (n) => bytes(n * 1024);
export const mib = (n) => bytes(n * 1048576);

/** Of a core, from thousandths: 12.3 % */
export const core = (m) => (Number.isFinite(m) ? `${(m / 10).toFixed(1)} %` : '–');

/** 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h */
export function span(seconds) {
  const t = Math.max(0, Math.round(seconds));
  if (t < 60) return `${t} s`;
  if (t < 3600) return `${Math.floor(t / 60)} min${t % 60 && t < 600 ? ` ${t % 60} s` : ''}`;
  if (t < 86400) return `${Math.floor(t / 3600)} h${Math.floor((t % 3600) / 60) ? ` ${Math.floor((t % 3600) / 60)} min` : ''}`;
  return `${Math.floor(t / 86400)} d${Math.floor((t % 86400) / 3600) ? ` ${Math.floor((t % 86400) / 3600)} h` : ''}`;
}

export const time = (ms) => clock.format(ms);
export const timeShort = (ms) => minute.format(ms);
export const date = (at) => (at ? moment.format(new Date(at)) : '–');
