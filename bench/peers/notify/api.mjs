// The usual stack's HTTP API: users, topics, workflows, and triggers, which become jobs. The 202 says that the jobs are in Redis. Paths and bodies are those of kith, so that one
// client drives both. argv: port. SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { id, queue, redis, STAGED, token } from './common.mjs';

const db = redis();
const jobs = queue(STAGED ? 'trigger' : 'notify');
const known = new Set();

// A trigger's workflow must be there. Staged asks the store each time, as the product does; lean remembers.
async function workflowIsThere(name) {
    if (!STAGED && known.has(name)) return true;
    if (!(await db.exists(`workflow:${name}`))) return false;
    known.add(name);
    return true;
}

// The same id again gives the same answer and no second job.
async function isNew(item) {
    return !item.id || (await db.set(`idempotency:${item.id}`, 1, 'EX', 86400, 'NX')) === 'OK';
}

async function trigger(items) {
    const jobsOf = [];
    const answers = await Promise.all(items.map(async (item) => {
        if (!(await workflowIsThere(item.workflow))) return { status: 404, title: 'no such workflow' };
        const answer = { id: item.id ?? id() };
        if (await isNew(item)) jobsOf.push({ name: 'trigger', data: { ...item, trigger: answer.id } });
        return answer;
    }));
    if (STAGED) await Promise.all(jobsOf.map((job) => jobs.add(job.name, job.data)));
    else await jobs.addBulk(jobsOf);
    return answers;
}

const ROUTES = [
    ['PUT', /^\/v1\/workflows\/([^/]+)$/, async ([, name], body) => [201, await db.set(`workflow:${name}`, JSON.stringify({ id: name, ...body })) && { id: name }]],
    ['POST', /^\/v1\/users\/([^/]+)\/tokens$/, async ([, user]) => {
        await db.hset(`user:${user}`, { id: user, locale: 'en', channels: 'inapp', updated: Date.now() });
        return [201, { token: token(user) }];
    }],
    ['POST', /^\/v1\/topics\/([^/]+)\/users$/, async ([, topic], body) => [200, { added: await db.sadd(`topic:${topic}`, ...body.add) }]],
    ['POST', /^\/v1\/notifications\/batch$/, async (_, body) => [202, { items: await trigger(body.items) }]],
    ['GET', /^\/readyz$/, async () => [200, {}]],
];

async function answer(request, text) {
    for (const [method, path, act] of ROUTES) {
        const match = request.method === method && path.exec(request.url);
        if (match) return act(match, text ? JSON.parse(text) : {});
    }
    return [404, { status: 404 }];
}

const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
        const [status, value] = await answer(request, Buffer.concat(chunks).toString()).catch((error) => [500, { status: 500, detail: error.message }]);
        const body = JSON.stringify(value);
        response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }).end(body);
    });
});
server.keepAliveTimeout = 300_000; // ms: of connections that a client keeps between two requests
server.listen(Number(process.argv[2]), '127.0.0.1');
