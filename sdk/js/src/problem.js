// What can go wrong, in one form: a problem document (RFC 9457), MQTT's reason, or the network's silence.
// SPDX-License-Identifier: Apache-2.0

// MQTT's reasons as kith gives them: [code of the problem, status]. Where one stands for several problems, the most general.
const REASONS = {
  0x80: ['internal', 500], 0x81: ['malformed', 400], 0x82: ['malformed', 400], 0x83: ['invalid-value', 422], 0x85: ['unauthorized', 401], 0x86: ['unauthorized', 401],
  0x87: ['forbidden', 403], 0x89: ['overloaded', 503], 0x8b: ['draining', 503], 0x8e: ['taken-over', 409], 0x90: ['not-found', 404], 0x95: ['too-large', 413],
  0x97: ['rate-limited', 429], 0x98: ['ended', 403], 0x99: ['malformed', 400], 0x9c: ['moved', 503], 0x9d: ['moved', 503], 0xa0: ['unauthorized', 401],
};

export class KithError extends Error {
  constructor({ type, title = '', status = 0, detail = '', field, retryAfter, reason }, cause) {
    super(detail || title || type, cause && { cause });
    Object.assign(this, { name: 'KithError', type, title, status, detail, field, retryAfter, reason });
  }
  get code() { return this.type.slice(this.type.lastIndexOf('/') + 1); }
  get temporary() { return this.status === 0 || this.status === 429 || this.status >= 500; }

  static network(detail, cause) { return new KithError({ type: '/problems/network', title: 'There is no answer', detail }, cause); }
  static timeout(detail) { return new KithError({ type: '/problems/timeout', title: 'There is no answer in time', detail }); }
  /** Of MQTT's reason code, with the reason string if there was one. */
  static reason(reason, detail = '') {
    const [code, status] = REASONS[reason] ?? ['internal', 500];
    return new KithError({ type: `/problems/${code}`, title: `MQTT reason 0x${reason.toString(16)}`, status, detail, reason });
  }
}

/** Whatever was thrown, as a KithError. */
export const asKithError = (e) => (e instanceof KithError ? e : KithError.network(String(e?.message ?? e), e));
