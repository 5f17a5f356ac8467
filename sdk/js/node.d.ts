// In Node: the same face, with a WebSocket of its own where Node has none, and a store in a file.
// SPDX-License-Identifier: Apache-2.0
import type { Store } from './index.js';
export * from './index.js';

/** Keeps in a file, of which no other process is the owner at the same time. */
export function fileStore(path: string): Store;
