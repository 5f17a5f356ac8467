// A service worker that shows what is pushed, and opens the page that it is about. Use it as it stands, or begin with it:
//
//   const registration = await navigator.serviceWorker.register('/push-worker.js');
//   await kith.subscribePush(registration); // where the user clicked: the browser asks
//
// What is pushed is JSON: title, body, id (of the notification), badge (how many are unread), and the data that the trigger brought.
// `data.url`, if it is of this origin, is opened by a click; else the page that is open, or `/`. SPDX-License-Identifier: Apache-2.0

let last = Promise.resolve(); // that is being shown: an older one whose picture takes long to load may not take the place of a newer one
const here = (url) => { const u = new URL(url ?? '/', self.location.origin); return u.origin === self.location.origin ? u.href : `${self.location.origin}/`; };

self.addEventListener('push', (event) => {
  let n = {};
  try { n = event.data?.json() ?? {}; } catch { n = { title: event.data.text() }; }
  const { title = 'News', body, id, image, badge, data = {} } = n;
  if (badge !== undefined) self.navigator.setAppBadge?.(badge).catch(() => {});
  // one with the same tag takes the place of the one that is shown: of a group there is one
  last = last.catch(() => {}).then(() => self.registration.showNotification(title, { body, image, tag: id, renotify: Boolean(id), icon: data.icon, data: { id, url: here(data.url) } }));
  event.waitUntil(last);
});

self.addEventListener('notificationclick', (event) => {
  const { id, url } = event.notification.data;
  event.notification.close();
  event.waitUntil((async () => {
    const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    const page = pages.find((p) => p.url === url) ?? pages[0];
    if (!page) return self.clients.openWindow(url);
    page.postMessage({ clicked: id }); // the page says so to the server: kith.mark('clicked', id)
    if (page.url !== url && url !== `${self.location.origin}/`) await page.navigate(url).catch(() => self.clients.openWindow(url));
    return page.focus();
  })());
});
