// Web Push: the browser's subscription, as the address of a device of its own at the server: the tabs of a browser share it.
// SPDX-License-Identifier: Apache-2.0

const bytesOf = (base64url) => Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const same = (buffer, bytes) => { const a = new Uint8Array(buffer ?? []); return a.length === bytes.length && a.every((b, i) => b === bytes[i]); };
/** By the subscription's public key, which no other has. */
const deviceOf = (subscription) => `push-${subscription.toJSON().keys.p256dh.slice(1, 44)}`;

export async function subscribe(kith, registration) {
  const { webpush } = await kith.call('GET /v1/push/key'), key = bytesOf(webpush);
  let s = await registration.pushManager.getSubscription();
  if (s && !same(s.options?.applicationServerKey, key)) { // of another server, or of this one before its key was made anew
    await s.unsubscribe();
    s = null;
  }
  s ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const { endpoint, keys: { p256dh, auth } } = s.toJSON();
  await kith.call('PUT /v1/users/{id}/devices/{device}', { path: { id: kith.user, device: deviceOf(s) }, body: { push: { webpush: { endpoint, keys: { p256dh, auth } } } } });
}

export async function unsubscribe(kith, registration) {
  const s = await registration.pushManager.getSubscription();
  if (!s) return;
  await kith.call('DELETE /v1/users/{id}/devices/{device}', { path: { id: kith.user, device: deviceOf(s) } });
  await s.unsubscribe();
}
