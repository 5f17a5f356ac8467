// The face of kith-client: everything that an application calls. index.js keeps what is said here.
// SPDX-License-Identifier: Apache-2.0
import type {
  Conversation, ConversationEntry, ConversationPut, Marked, Member, MemberRole, Message, MessageEntry, MessagePatch, MessagePost, MessageShown, Notification,
  NotificationCounts, NotificationEntry, NotificationPage, Operations, Preferences, PreferencesPut, Problem, Reaction, Receipt, ReceiptEntry, Role, User, UserConversation, UserConversationPut, UserConversationSet, UserPut,
} from './api.js';

export type * from './api.js';

/** A token, or what POST /v1/users/{id}/tokens answers. */
export type TokenAnswer = string | { token: string; expires_at?: string };

/** What one entry of the mailbox is; new types of entries may come with newer servers. */
export type Entry = MessageEntry | ReceiptEntry | ConversationEntry | NotificationEntry;

/** What a user does with a notification: a click is a read, a read is a look. */
export type Mark = 'seen' | 'read' | 'archived' | 'clicked';
/** Which ones: by their ids, or all up to one as they are listed. */
export type Which = string | string[] | { ids: string[] } | { upto: string };
export type NotificationState = 'unseen' | 'unread' | 'archived' | 'unarchived';

/** As much of a ServiceWorkerRegistration as push needs. */
export interface PushRegistration {
  readonly pushManager: { getSubscription(): Promise<any>; subscribe(options?: any): Promise<any> };
}

/** A page of a list: give `next` back as `cursor` to go on; null: this was the last one. */
export interface Page<T> { items: T[]; next: string | null }

/** Where a page of a list begins, and how long it is (1 to 200; 50). */
export interface PageOptions { limit?: number; cursor?: string | undefined }

export interface KithOptions {
  /** Where kith is: `https://chat.example`. In a page that kith itself serves, the page's origin. */
  url?: string;
  /**
   * A device token, or who gets one (from your application's backend). A function is called at the start, before
   * the token expires, and whenever the server no longer takes it; a failure of it is tried again later. `device` is the
   * device that the token must be for.
   */
  token: string | ((about: { device: string }) => TokenAnswer | Promise<TokenAnswer>);
  /**
   * This device: its MQTT client id, under which the server keeps its session. The default is the one that the token
   * names; where a function gives the token, one that is made up and kept: for the tab in a browser, in memory elsewhere.
   */
  device?: string;
  /** Whose device it is. The default is what the token says. */
  user?: string;
  /** `auto` (the default): MQTT over WebSocket, and Server-Sent Events where that cannot be had. Or only one of them. */
  transport?: 'auto' | 'mqtt' | 'sse';
  /** Where the outbox and the last cursor are kept: IndexedDB in browsers; elsewhere memory. */
  store?: Store;
  /** Seconds for which the server keeps the session of a device that is away; 30 days. */
  sessionExpiry?: number;
  /** Seconds within which there is a sign of life; 60. A connection that is dead is noticed within that; at once when the page is shown again. */
  keepAlive?: number;
  /** How many entries the server may send ahead of their acknowledgement; 128. */
  receiveMaximum?: number;
  /** Tell others that this user is online, and again so often (milliseconds; `true`: 25,000). Off by default. */
  presence?: boolean | { every: number };
  /** Waiting before coming back, in milliseconds: a random part of `base` doubled at each failure, at most `max`. */
  reconnect?: { base?: number; max?: number };
  /** How long to wait for an answer, in milliseconds; 20,000. */
  timeout?: number;
  /** In the place of the platform's own. */
  WebSocket?: new (url: string, protocols?: string | string[]) => WebSocket;
  /** In the place of the platform's own. */
  fetch?: typeof fetch;
}

/** Keeps small JSON values by key, so that they survive a reload. Calls do not wait for each other: those of one key take effect in their order. */
export interface Store {
  /** All entries whose key begins with the prefix. */
  list(prefix: string): Promise<Array<[key: string, value: unknown]>>;
  set(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
}

/** What a message holds; at least one of body, data, media, ciphertexts. */
export type Content = Omit<MessagePost, 'from'>;

/** `queued`: kept here. `sent`: on its way. `stored`: durable at the server. `refused`: for good; see `problem`. */
export type SendState = 'queued' | 'sent' | 'stored' | 'refused';

/** A message of this device that the server may not have yet. It is shown at once: it has its final id. */
export type Outgoing = Content & {
  id: string;
  conversation: string;
  from: string;
  /** This device's clock, until the server's takes its place. */
  created_at: string;
  state: SendState;
  /** Why, when it was refused. */
  problem?: KithError;
  /** Its place in the conversation, once that is known. */
  seq?: number;
};

/** `connecting`, `online`, `offline` (it comes back by itself), `closed` (it does not: connect() begins anew). */
export type ConnectionState = 'connecting' | 'online' | 'offline' | 'closed';

export interface StateEvent {
  state: ConnectionState;
  transport: 'mqtt' | 'sse' | null;
  /** The server had kept this device's session: nothing was missed. */
  resumed?: boolean;
  /** Why it is not online. */
  error?: KithError;
  /** Milliseconds until the next attempt. */
  retryIn?: number;
}

export interface KithEvents {
  /** The connection changed. */
  state: StateEvent;
  /** Anything that reached the user, once, in order. It is acknowledged when the handlers are done, promises of them included. */
  entry: Entry;
  /** An entry with a message: `event` says whether it is new, changed (edit, reaction) or deleted. */
  message: MessageEntry;
  /** Somebody's marks moved: what they have, what they read. */
  receipt: ReceiptEntry;
  /** This user came into a conversation, or is out of it. */
  conversation: ConversationEntry;
  /**
   * About the user's notifications: one that came, or a group that somebody joined (`title` in it); marks that were made, on any
   * device (`marked` in it); one that is gone (`reason` in it). Each with the counts since.
   */
  notification: NotificationEntry;
  /** How many notifications are unseen and unread now. */
  counts: NotificationCounts;
  /** A message of this device came to a new state. */
  outbox: Outgoing;
  /** Somebody writes just now. Live only. */
  typing: { conversation: string; from: string };
  /** Somebody came or went, by what their devices say. Live only. With the option `presence`, silence of two and a half heartbeats counts as going. */
  presence: { user: string; online: boolean };
  /** Something is missing before the next entry (retention, or a restored backup): read again what is shown. */
  gap: { problem?: KithError };
  /** What went wrong without anybody waiting for it. */
  error: KithError;
}

/** A problem (RFC 9457), an MQTT reason, or the network's. */
export class KithError extends Error {
  /** The stable code: `/problems/blocked`; `/problems/network` and `/problems/timeout` are this client's own. */
  readonly type: string;
  /** The HTTP status; 0: there was no answer. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** What is to blame, if one thing is. */
  readonly field?: string;
  /** Milliseconds after which it may be tried again. */
  readonly retryAfter?: number;
  /** MQTT's reason code, where MQTT said it. */
  readonly reason?: number;
  /** Whether the same may succeed later: no answer, 429, 5xx. */
  readonly temporary: boolean;
  /** The code alone: `blocked`. */
  readonly code: string;
}

/** A promise of it holds the acknowledgement; what else it gives is nobody's. */
type Handler<K extends keyof KithEvents> = (event: KithEvents[K]) => unknown;
type Arguments<K extends keyof Operations> = Omit<Operations[K], 'answer'>;
type Given<T> = Record<string, never> extends T ? [args?: T & CallOptions] : [args: T & CallOptions];

export interface CallOptions {
  query?: object;
  header?: object;
  signal?: AbortSignal;
}

/** One device's connection to kith, and its outbox. */
export class Kith {
  constructor(options: KithOptions);

  /** Whose device it is; empty until the token is there, where neither was given. */
  readonly user: string;
  readonly device: string;
  readonly state: ConnectionState;
  readonly transport: 'mqtt' | 'sse' | null;

  /**
   * Connects, and stays connected until close(): what breaks comes back by itself. Resolves when it is online for the first
   * time; rejects, and is closed, when it cannot be (a token that is refused, a device that is taken over).
   */
  connect(): Promise<void>;
  /** Ends the connection; the server keeps the session, the store keeps the outbox. */
  close(): Promise<void>;

  /** Gives what takes the handler away again. */
  on<K extends keyof KithEvents>(event: K, handler: Handler<K>): () => void;
  once<K extends keyof KithEvents>(event: K, handler: Handler<K>): () => void;
  off<K extends keyof KithEvents>(event: K, handler: Handler<K>): void;
  /** The entries from now on; each is acknowledged when the next one is asked for. */
  entries(): AsyncIterableIterator<Entry>;

  /**
   * Sends: the message comes back at once, is kept until the server has it, and goes out when there is a connection, in order
   * in its conversation, under the same id however often that takes.
   */
  send(conversation: string, content: string | Content): Outgoing;
  /** Resolves when the message is stored; rejects when it is refused. */
  stored(message: Outgoing | string): Promise<Outgoing>;
  /** What is not stored yet, oldest first, the refused too; also from before a reload. It is complete after connect(), or await ready(). */
  outbox(conversation?: string): Outgoing[];
  /** Resolves when what the store keeps has been read. */
  ready(): Promise<void>;
  /** Sends a refused message again. */
  retry(id: string): void;
  /** Forgets a message that is refused, or still queued. */
  discard(id: string): void;

  /** The user has read up to the message; kept and told when there is a connection. Only forward. */
  read(conversation: string, seq: number): void;
  /** The user writes just now: told at most every three seconds. */
  typing(conversation: string): void;
  /** Tells who shares a conversation, now; live only. */
  presence(online: boolean): void;

  /** GET /v1/users/{me}/conversations: with what is unread, newest first. */
  conversations(options?: PageOptions): Promise<Page<UserConversation>>;
  conversation(id: string): Promise<Conversation>;
  /** Makes it, or changes it. Who makes it is in it. */
  putConversation(id: string, put: ConversationPut): Promise<Conversation>;
  /** What this user alone sets: muted_until, archived. */
  setConversation(id: string, set: UserConversationPut): Promise<UserConversationSet>;
  members(conversation: string, options?: PageOptions): Promise<Page<Member>>;
  putMember(conversation: string, user: string, role?: Role): Promise<MemberRole>;
  /** Puts somebody out, or leaves. */
  removeMember(conversation: string, user?: string): Promise<void>;

  /** Newest first; with `after` oldest first. */
  messages(conversation: string, options?: PageOptions & { before?: number; after?: number }): Promise<Page<Message>>;
  message(conversation: string, id: string): Promise<Message>;
  replies(conversation: string, id: string, options?: PageOptions): Promise<Page<Message>>;
  edit(conversation: string, id: string, change: string | MessagePatch): Promise<Message>;
  delete(conversation: string, id: string): Promise<void>;
  react(conversation: string, id: string, emoji: string): Promise<Reaction>;
  unreact(conversation: string, id: string, emoji: string): Promise<void>;
  /** How far each member has come. */
  receipts(conversation: string, options?: PageOptions): Promise<Page<Receipt>>;

  /** This user, or another one's id, name and avatar. */
  profile(user?: string): Promise<User>;
  putProfile(put: UserPut): Promise<User>;
  follow(user: string): Promise<void>;
  unfollow(user: string): Promise<void>;
  follows(options?: PageOptions): Promise<Page<{ id: string }>>;
  followers(options?: PageOptions): Promise<Page<{ id: string }>>;
  block(user: string): Promise<void>;
  unblock(user: string): Promise<void>;
  blocks(options?: PageOptions): Promise<Page<{ id: string }>>;
  mute(user: string): Promise<void>;
  unmute(user: string): Promise<void>;
  mutes(options?: PageOptions): Promise<Page<{ id: string }>>;
  /** Newest first, with the counts; the archived too, unless `state` says otherwise. */
  notifications(options?: PageOptions & { state?: NotificationState }): Promise<NotificationPage>;
  mark(mark: Mark, which: Which): Promise<Marked>;
  /** A list of them that keeps itself as it is: for a bell, and what it opens. */
  inbox(options?: { state?: NotificationState; limit?: number }): Inbox;
  /** How this user wants to be told: by workflow and channel, quiet hours, pause. */
  preferences(): Promise<Preferences>;
  /** What it does not name stays; null takes back. */
  putPreferences(put: PreferencesPut): Promise<Preferences>;
  /** The browser is pushed to from now on, through the service worker that `registration` is of. Asks the user, if nobody has: call it where they click. */
  subscribePush(registration: PushRegistration): Promise<void>;
  unsubscribePush(registration: PushRegistration): Promise<void>;

  /** What reached the user after the cursor, oldest first; without: from the oldest kept. */
  mailbox(options?: PageOptions): Promise<Page<Entry>>;

  /** Every item of a list, page after page: `for await (const m of kith.all((cursor) => kith.messages(c, { cursor })))`. */
  all<T>(list: (cursor: string | undefined) => Promise<Page<T>>): AsyncIterableIterator<T>;

  /** Any call, typed by the OpenAPI document: `kith.call('GET /v1/users/{id}', { path: { id: 'bob' } })`. */
  call<K extends keyof Operations>(operation: K, ...args: Given<Arguments<K>>): Promise<Operations[K]['answer']>;
  /** Any call as it is: `kith.call('PUT', '/v1/users/bob/mutes/eve')`. 429 and 503 are tried again after Retry-After. */
  call<T = unknown>(method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown, options?: CallOptions): Promise<T>;
}

/** A user's notifications as they are shown, kept so by what comes live. */
export class Inbox {
  /** Newest first, as far as they were asked for; one that others join moves to the top. */
  readonly items: Notification[];
  readonly counts: NotificationCounts;
  /** The first page was read. */
  readonly loaded: boolean;
  /** next() would give more. */
  readonly more: boolean;
  /** `change`: items or counts are others. Gives what takes the handler away again. */
  on(event: 'change', handler: (inbox: Inbox) => void): () => void;
  on(event: 'error', handler: (error: KithError) => void): () => void;
  /** Reads the newest again; it does so itself at the start and after a gap. */
  load(): Promise<void>;
  next(): Promise<void>;
  /** Shown at once; when the server refuses, read again. */
  mark(mark: Mark, which: Which): Promise<void>;
  close(): void;
}

/** A new id: 26 characters that sort by time, unique also among many devices. */
export function newId(): string;
/** Keeps nothing beyond the process. */
export function memoryStore(): Store;
/** Keeps in the browser's IndexedDB, under the name. */
export function indexedDBStore(name: string): Store;

/** What a message of a page or an entry is when nobody deleted or hid it. */
export function isShown(message: Message): message is MessageShown;

export type { Problem };
