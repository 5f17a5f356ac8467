// kith-client in Node: index.js with what Node lacks: before 22 a WebSocket, before 20 `crypto`; and a store in a file.
// SPDX-License-Identifier: Apache-2.0
import { webcrypto } from 'node:crypto';
import { platform } from './index.js';
import { NodeWebSocket } from './src/node-socket.js';

globalThis.crypto ??= webcrypto;
platform.WebSocket ??= NodeWebSocket;

export * from './index.js';
export { fileStore } from './src/node-store.js';
