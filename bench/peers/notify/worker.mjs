// The usual stack's worker. Staged has the job shape of the best-known product: a job for the trigger, one for each subscriber, one for the step, one for the socket, and between
// them the documents that it keeps: subscriber, preferences, notification, job, message, execution details. Lean does all of a trigger in one job, in pipelines, and keeps what
// an inbox needs: message, entry, count and what was decided for each recipient; the trigger's total. SPDX-License-Identifier: Apache-2.0
import { id, queue, redis, render, STAGED, work } from './common.mjs';

const PAGE = 100; // members of a topic that the product takes at a time
const BULK = 500; // recipients of one pipeline in lean
const INBOX_MAX = 1000;
const TTL_S = 30 * 86400;
const db = redis();

async function* pages(item) {
    const users = item.to.users ?? (await db.smembers(`topic:${item.to.topic}`));
    const size = STAGED ? PAGE : BULK;
    for (let i = 0; i < users.length; i += size) yield users.slice(i, i + size);
}

// ---- staged ----
const put = (key, value) => db.set(key, JSON.stringify(value), 'EX', TTL_S);
const get = async (key) => JSON.parse(await db.get(key));
const detail = (notification, text) => db.rpush(`details:${notification}`, JSON.stringify({ at: Date.now(), text }));
// The workflow's preference, the person's own, and the two together decide.
async function mayInApp(user, workflow) {
    const [own, global] = await Promise.all([db.hget(`preferences:${user}`, workflow.id), db.hget(`preferences:${user}`, '*')]);
    return workflow.channels.includes('inapp') && own !== 'off' && global !== 'off';
}

function staged() {
    const subscribers = queue('subscriber'), steps = queue('step'), sockets = queue('socket');

    work('trigger', 100, async ({ data: item }) => {
        const workflow = await get(`workflow:${item.workflow}`);
        if (!workflow) return;
        for await (const users of pages(item))
            await subscribers.addBulk(users.map((user) => ({ name: 'subscriber', data: { trigger: item.trigger, workflow: item.workflow, user, data: item.data } })));
    });

    work('subscriber', 200, async ({ data: { trigger, workflow: name, user, data } }) => {
        const person = await db.hgetall(`user:${user}`);
        if (!person.id) await db.hset(`user:${user}`, { id: user, locale: 'en', channels: 'inapp', updated: Date.now() });
        const workflow = await get(`workflow:${name}`);
        const notification = { id: id(), trigger, workflow: name, user, data, created: Date.now() };
        await put(`notification:${notification.id}`, notification);
        const stored = ['trigger', ...workflow.channels].map((step) => ({ id: id(), notification: notification.id, trigger, workflow: name, user, step, status: 'pending', data }));
        stored.forEach((job, i) => { job.next = stored[i + 1]?.id; });
        await Promise.all(stored.map((job) => put(`job:${job.id}`, job)));
        await detail(notification.id, 'step queued');
        await steps.add('step', { job: stored[0].id });
    });

    // The first step of each is the trigger itself: it only says so, and queues the next.
    const next = (job) => job.next && steps.add('step', { job: job.next });

    work('step', 200, async ({ data }) => {
        const job = await get(`job:${data.job}`);
        await put(`job:${job.id}`, { ...job, status: 'running' });
        if (job.step === 'trigger') {
            await detail(job.notification, 'triggered');
            await put(`job:${job.id}`, { ...job, status: 'completed' });
            return next(job);
        }
        const person = await db.hgetall(`user:${job.user}`);
        const workflow = await get(`workflow:${job.workflow}`);
        if (!(await mayInApp(job.user, workflow))) {
            await detail(job.notification, 'filtered by preferences');
            return next(job);
        }
        const words = workflow.templates[person.locale] ?? workflow.templates.en;
        const message = { id: id(), notification: job.notification, trigger: job.trigger, workflow: job.workflow, user: job.user, title: render(words.title, job.data),
            body: render(words.body, job.data), data: job.data, created_at: new Date().toISOString(), seen: false, read: false };
        await detail(job.notification, 'message created');
        await put(`message:${message.id}`, message);
        await db.zadd(`inbox:${job.user}`, Date.now(), message.id);
        await db.sadd(`unseen:${job.user}`, message.id);
        await sockets.add('message', { user: job.user, message: message.id });
        await detail(job.notification, 'message sent');
        await put(`job:${job.id}`, { ...job, status: 'completed' });
        return next(job);
    });
}

// ---- lean ----
function lean() {
    const workflows = new Map();
    const workflowOf = async (name) => workflows.get(name) ?? workflows.set(name, await get(`workflow:${name}`)).get(name);

    work('notify', 200, async ({ data: item }) => {
        const workflow = await workflowOf(item.workflow);
        const words = workflow.templates.en, now = Date.now();
        const content = { trigger: item.trigger, workflow: item.workflow, title: render(words.title, item.data), body: render(words.body, item.data), data: item.data,
            created_at: new Date(now).toISOString() };
        let sent = 0;
        for await (const users of pages(item)) {
            const asked = db.pipeline();
            for (const user of users) asked.hmget(`preferences:${user}`, item.workflow, '*');
            const off = await asked.exec();
            const to = users.filter((_, i) => !off[i][1].includes('off'));
            const all = db.pipeline(), messages = to.map((user) => ({ id: id(), user, ...content }));
            for (const message of messages) {
                all.set(`message:${message.id}`, JSON.stringify(message), 'EX', TTL_S);
                all.zadd(`inbox:${message.user}`, now, message.id).zremrangebyrank(`inbox:${message.user}`, 0, -INBOX_MAX - 1);
                all.rpush(`details:${message.id}`, 'sent in-app').hincrby(`counts:${message.user}`, 'unseen', 1);
            }
            const counts = await all.exec();
            await db.publish('live', JSON.stringify(messages.map((message, i) => ({ ...message, unseen: counts[i * 5 + 4][1] }))));
            sent += to.length;
        }
        await db.hset(`trigger:${item.trigger}`, { workflow: item.workflow, at: now, sent });
    });
}

(STAGED ? staged : lean)();
