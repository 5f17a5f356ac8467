// The usual notification stack, a stand-in of our own (README.md beside this says what it is and is not): what its three processes share.
// PEER_HOME: where package.json was installed; PEER_REDIS: port of Redis, which is both queue and store; PEER_SHAPE: staged or lean. SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto';
import { createRequire } from 'node:module';

const need = createRequire(process.env.PEER_HOME + '/');
export const { Queue, Worker } = need('bullmq');
export const SocketServer = need('socket.io').Server;
const Redis = need('ioredis');

export const STAGED = process.env.PEER_SHAPE !== 'lean';
const at = { host: '127.0.0.1', port: Number(process.env.PEER_REDIS), maxRetriesPerRequest: null };
// As the documentation of both libraries advises: a connection of its own for what blocks (each worker), one for the rest; commands of one turn leave together.
export const redis = () => new Redis({ ...at, enableAutoPipelining: true });
export const queue = (name) => new Queue(name, { connection: redis(), defaultJobOptions: { removeOnComplete: true, attempts: 3, backoff: { type: 'exponential', delay: 1000 } } });
export function work(name, concurrency, step) {
    const worker = new Worker(name, step, { connection: at, concurrency });
    worker.on('failed', (job, error) => console.error(`${name} ${job?.id}: ${error.stack}`));
    worker.on('error', (error) => console.error(`${name}: ${error.stack}`));
    return worker;
}

// Sorts by time; unique by the process.
let count = 0;
export const id = () => `${Date.now().toString(36)}${process.pid.toString(36)}${(count++).toString(36).padStart(5, '0')}`;

const SECRET = 'the bench asks nobody else in';
const sign = (text) => createHmac('sha256', SECRET).update(text).digest('base64url');
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
export function token(user) {
    const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: user, exp: Math.floor(Date.now() / 1000) + 86400 })}`;
    return `${text}.${sign(text)}`;
}
export function verify(jwt) {
    const [head, body, mark] = String(jwt).split('.');
    if (mark !== sign(`${head}.${body}`)) throw new Error('not a token of ours');
    return JSON.parse(Buffer.from(body, 'base64url').toString()).sub;
}

// {{name}} and {{payload.name}}: less than the usual engines do.
export const render = (text, payload) => text.replace(/\{\{?\s*(?:payload\.)?([\w]+)\s*\}?\}/g, (_, name) => String(payload?.[name] ?? ''));
