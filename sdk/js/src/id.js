// Ids that sort by time: 48 bits of milliseconds and 80 random bits, in Crockford's base 32; within one millisecond each
// is the one before it plus one, so that also they sort. SPDX-License-Identifier: Apache-2.0

const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
let last = 0;
let random = [];

function digits(n, count) {
  let out = '';
  for (; count > 0; count--, n = Math.floor(n / 32)) out = DIGITS[n % 32] + out;
  return out;
}

/** A new id: 26 characters. A clock that goes back does not make them sort wrong in one process. */
export function newId() {
  const now = Date.now();
  if (now > last) {
    last = now;
    random = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b & 31);
    random[0] &= 15; // room to count up in
  } else {
    let i = random.length - 1;
    while (random[i] === 31) random[i--] = 0;
    random[i]++;
  }
  return digits(last, 10) + random.map((d) => DIGITS[d]).join('');
}
