// Written by tool/types.mjs from docs/openapi.json; change that, and run it again.
// SPDX-License-Identifier: Apache-2.0

/** 1 to 64 of A-Z a-z 0-9 _ . : - */
export type Id = string;

/** RFC 3339, UTC, with milliseconds. */
export type Time = string;

/** A whole number of seconds, minutes, hours or days, at most 3650d. */
export type Duration = string;

/** Opaque: a place in one list. It is good until what it names is past retention or the data is restored from a backup. */
export type Cursor = string;

/** Give it back as cursor to go on; null: this was the last page. */
export type Next = string | null;

/** The app's own, kept as it is; at most 16 KiB of minified JSON. */
export type Metadata = Record<string, unknown>;

/** The app's own, any JSON value, kept as it is; at most 64 KiB of minified JSON. */
export type Data = unknown;

/** The app's own list, in order, kept as it is; at most 64 KiB of minified JSON. */
export type Media = unknown[];

/** What a member may do. */
export type Role = "member" | "admin" | "owner";

/** direct: exactly two; group: at most 1,024 members; channel: any number, its admins and owners write. */
export type ConversationType = "direct" | "group" | "channel";

/** A problem document (RFC 9457). */
export type Problem = {
  /** Ends in a stable code. */
  type: "/problems/malformed" | "/problems/unknown-field" | "/problems/wrong-type" | "/problems/unauthorized" | "/problems/forbidden" | "/problems/blocked" | "/problems/not-a-member" | "/problems/not-found" | "/problems/method-not-allowed" | "/problems/conflict" | "/problems/gone" | "/problems/too-large" | "/problems/invalid-value" | "/problems/limit-reached" | "/problems/upgrade-required" | "/problems/rate-limited" | "/problems/internal" | "/problems/overloaded" | "/problems/disk-full" | "/problems/draining";
  /** The same words for every problem of this type. */
  title: string;
  /** The HTTP status. */
  status: number;
  /** What is wrong here and how to put it right. */
  detail: string;
  /** The member of the body, the parameter or the header that is to blame. */
  field?: string;
};

/** A user. A device token sees of others id, name and avatar only. */
export type User = {
  id: Id;
  /** Shown to others; bytes of UTF-8: at most 256. */
  name?: string;
  /** A URL of the app's choice; at most 2,048 bytes. */
  avatar?: string;
  /** BCP 47. */
  locale?: string;
  /** An IANA name. */
  timezone?: string;
  /** An address. */
  email?: string;
  metadata?: Metadata;
  /** When the profile was first put. */
  created_at?: Time;
};

/** Absent: as it was. null: cleared. */
export type UserPut = {
  /** At most 256 bytes. */
  name?: string | null;
  /** At most 2,048 bytes. */
  avatar?: string | null;
  /** BCP 47: letters, digits and hyphens. */
  locale?: string | null;
  /** An IANA name. */
  timezone?: string | null;
  /** An address. */
  email?: string | null;
  metadata?: Metadata | null;
};

/** A user, by id. */
export type UserId = {
  id: Id;
};

/** One page of a list. */
export type UserPage = {
  /** Newest first. */
  items: Array<UserId>;
  next: Next;
};

/** What is held of a user. */
export type Export = {
  user: User;
  /** Oldest first. */
  follows: Array<Id>;
  /** Oldest first. */
  followers: Array<Id>;
  /** Oldest first. */
  blocks: Array<Id>;
  /** Oldest first. */
  mutes: Array<Id>;
  /** Those they are in. */
  topics: Array<Id>;
  /** Those they are in, then those they left. */
  conversations: Array<ExportPlace>;
  /** All of them. */
  devices: Array<ExportDevice>;
  preferences: Preferences;
  /** All that their inbox holds, newest first. */
  notifications: Array<Notification>;
  /** What was learned of which notifications they open: weights, in base64url. Not there: nothing. */
  learned?: string;
  /** What reached them and what they sent, oldest first; ?cursor= goes on with its next. */
  mailbox: MailboxPage;
};

/** A user's place in a conversation. */
export type ExportPlace = {
  id: Id;
  type: ConversationType;
  /** False: they left it. */
  member: boolean;
  joined_at: Time;
  read: number;
  delivered: number;
  muted_until?: Time;
  archived: boolean;
};

/** A device with its push address and its prekeys. */
export type ExportDevice = {
  id: Id;
  /** As it was given. */
  push: Push | null;
  /** The prekey bundle with the one-time keys that are left. */
  keys?: KeysPut;
};

export type TokenPost = {
  /** The device that the token is for: its MQTT client id. */
  device: Id;
  /** How long it is good for; default 24h, at most 365d, more than nothing. */
  ttl?: Duration;
};

/** A device token. */
export type Token = {
  /** A JWT: the bearer of HTTP, the password of MQTT. */
  token: string;
  expires_at: Time;
};

/** One of a user's devices. */
export type Device = {
  id: Id;
  /** Whether it has a push address. */
  push: boolean;
};

/** One page of a list. */
export type DevicePage = {
  /** Oldest first; a user has at most 64. */
  items: Array<Device>;
  next: Next;
};

/** One way to push to a device; at most 4 KiB. */
export type Push = {
  webpush: {
    /** The push service's URL. */
    endpoint: string;
    /** Browsers give it; it is not used: an ended subscription is one that its service refuses. */
    expirationTime?: number | null;
    /** The subscription's keys (RFC 8291). */
    keys: {
      /** base64url of a P-256 public key: 65 bytes, the first 0x04. */
      p256dh: string;
      /** base64url of 16 bytes. */
      auth: string;
    };
  };
} | {
  apns: {
    /** The device token, hexadecimal. */
    token: string;
  };
} | {
  fcm: {
    /** The registration token. */
    token: string;
  };
};

export type Topic = {
  id: Id;
  /** How many users are in it. */
  count: number;
};

export type TopicUsers = {
  add?: Array<Id>;
  remove?: Array<Id>;
};

export type TopicChange = {
  /** How many came. */
  added: number;
  /** How many went. */
  removed: number;
};

export type TopicRef = {
  id: Id;
};

export type TopicPage = {
  items: Array<TopicRef>;
  next: Next;
};

export type DevicePut = {
  /** Absent: as it was. null: none. */
  push?: Push | null;
};

/** Public key material in whatever form the devices agree on, opaque to the server: any JSON value; one that stands by itself has at most 8 KiB. */
export type Key = unknown;

/** Absent: as it was. A device's first bundle needs identity_key. */
export type KeysPut = {
  /** The device's long-term key. */
  identity_key?: Key;
  /** The number that the device chose for itself. null: none. */
  registration_id?: number | null;
  /** Its medium-term key with the signature. null: none. */
  signed_prekey?: Key;
  /** Its post-quantum key for when no one-time one is left. null: none. */
  kem_last_resort?: Key;
  /** Its MLS key package for when no other is left. null: none. */
  key_package_last_resort?: Key;
  /** One-time keys on an elliptic curve. Each is handed out once, in this order, and one that was is not taken again; at most 200 and 256 KiB. null: none. */
  one_time_keys?: Array<Key> | null;
  /** Post-quantum one-time keys. Each is handed out once, in this order, and one that was is not taken again; at most 200 and 256 KiB. null: none. */
  kem_one_time_keys?: Array<Key> | null;
  /** MLS key packages (RFC 9420). Each is handed out once, in this order, and one that was is not taken again; at most 200 and 256 KiB. null: none. */
  key_packages?: Array<Key> | null;
};

export type KeysStored = {
  device: Id;
  /** How many are in store. */
  one_time_keys: number;
  /** How many are in store. */
  kem_one_time_keys: number;
  /** How many are in store. */
  key_packages: number;
};

export type KeysClaim = {
  /** Only these, each once; absent or empty: all of the user's. */
  devices?: Array<Id>;
};

/** What is needed to begin an encrypted session with a device. */
export type KeysBundle = {
  device: Id;
  /** The device's long-term key. */
  identity_key: Key;
  /** The number that the device chose for itself. */
  registration_id?: number;
  /** Its medium-term key with the signature. */
  signed_prekey?: Key;
  /** Never handed out again; absent when there are no more. */
  one_time_key?: Key;
  /** Never handed out again. */
  kem_one_time_key?: Key;
  /** Never handed out again. */
  key_package?: Key;
  /** In the place of kem_one_time_key when there are no more. */
  kem_last_resort?: Key;
  /** In the place of key_package when there are no more. */
  key_package_last_resort?: Key;
};

export type KeysClaimed = {
  /** One a device that has put keys. */
  items: Array<KeysBundle>;
};

export type PresencePut = {
  /** Told as it is to those who share a conversation. */
  online: boolean;
};

/** What one device of one user can decrypt. */
export type Ciphertext = {
  user: Id;
  device: Id;
  /** base64, or whatever the devices agree on; at most 64 KiB. */
  data: string;
};

export type MessageShown = {
  id: Id;
  conversation: Id;
  seq: Seq;
  from: Id;
  created_at: Time;
  /** Text; at most 64 KiB. */
  body?: string;
  data?: Data;
  media?: Media;
  /** The message that this one answers. */
  reply_to?: Id;
  /** Users. */
  mentions?: Array<Id>;
  edited_at?: Time;
  /** When it becomes a stub by itself. */
  expires_at?: Time;
  /** How many members gave each; at most 64 different ones are counted. */
  reactions?: Record<string, number>;
  /** Those of the asking device; a server key without user sees all. */
  ciphertexts?: Array<Ciphertext>;
};

/** The place in the conversation: from 1, without gaps, the same for every member. */
export type Seq = number;

/** What stays of a message. */
export type MessageDeleted = {
  id: Id;
  conversation: Id;
  seq: Seq;
  /** When it was deleted or expired. */
  deleted_at: Time;
};

/** What is shown of a message that the asking user does not see. */
export type MessageHidden = {
  id: Id;
  conversation: Id;
  seq: Seq;
  /** The asking user blocks its sender. */
  hidden: true;
};

/** A message, or the stub in its place. */
export type Message = MessageShown | MessageDeleted | MessageHidden;

/** At least one of body, data, media, ciphertexts; at most 64 KiB in all. */
export type MessagePost = {
  /** Unique in the conversation: the same again gives the first answer. Absent: the server makes one that sorts by time. */
  id?: Id;
  /** The sender, named by a server key; a device token sends as its user. */
  from?: Id;
  /** Text; at most 64 KiB. */
  body?: string;
  data?: Data;
  media?: Media;
  /** A message of this conversation. */
  reply_to?: Id;
  /** Users; at most 8 KiB. */
  mentions?: Array<Id>;
  /** End-to-end encrypted: one for each device that shall read it. */
  ciphertexts?: Array<Ciphertext>;
};

/** A request that says all by its path. */
export type Nothing = Record<string, never>;

/** Absent: as it was; one at least is given. Something of the message must be left. */
export type MessagePatch = {
  /** Text; at most 64 KiB. null: none. */
  body?: string | null;
  /** null: none. */
  data?: Data;
  /** null: none. */
  media?: Media | null;
};

/** One page of a list. */
export type MessagePage = {
  /** Messages. */
  items: Array<Message>;
  next: Next;
};

/** Absent: as it was. null: cleared. */
export type ConversationPut = {
  /** Needed to make it; cannot change. */
  type?: ConversationType;
  /** Added to those there are. Who makes it by a device token is in it and need not be named. */
  members?: Array<Id>;
  /** At most 256 bytes. null: none. */
  name?: string | null;
  metadata?: Metadata | null;
  /** New messages become stubs after this time. null: they stay. */
  disappear_after?: Duration | null;
  /** What who joins later sees of before: all, or nothing (from_join, the default). */
  history?: "all" | "from_join";
};

/** A conversation as such. */
export type Conversation = {
  id: Id;
  type: ConversationType;
  /** Its name. */
  name?: string;
  /** How many are in it. */
  member_count: number;
  /** What who joins later sees of before. */
  history: "all" | "from_join";
  disappear_after?: Duration;
  created_at: Time;
  /** The seq of the newest message; 0: none yet. */
  last_seq: number;
  /** When read: the newest message that who asks may see. */
  last?: Message | null;
  /** When a user reads it: messages of others after read. */
  unread?: number;
  /** When a user reads it: the last seq they read. */
  read?: number;
  /** When a user reads it: the last seq that reached one of their devices. */
  delivered?: number;
  metadata?: Metadata;
};

/** A conversation as one of its members sees it. */
export type UserConversation = {
  id: Id;
  type: ConversationType;
  /** Its name. */
  name?: string;
  /** How many are in it. */
  member_count: number;
  /** The newest message that they may see. */
  last: Message | null;
  /** Messages of others after read. */
  unread: number;
  /** The last seq they read. */
  read: number;
  /** The last seq that reached one of their devices. */
  delivered: number;
  muted_until?: Time;
  /** Present when it is. */
  archived?: true;
  metadata?: Metadata;
};

/** One page of a list. */
export type UserConversationPage = {
  /** The one with the newest message first. */
  items: Array<UserConversation>;
  next: Next;
};

/** Absent: as it was. */
export type UserConversationPut = {
  /** No notifications until then. null: not muted. */
  muted_until?: string | null;
  /** Put away by this user until a message of another comes that they see, or, while it is muted, whatever comes; null: not. */
  archived?: boolean | null;
};

/** What a user has set for a conversation. */
export type UserConversationSet = {
  id: Id;
  muted_until?: Time;
  /** Put away by this user. */
  archived: boolean;
};

export type MemberPut = {
  /** Default for who joins: member. */
  role?: Role;
};

export type MemberRole = {
  user: Id;
  role: Role;
};

export type Member = {
  user: Id;
  role: Role;
  joined_at: Time;
};

/** One page of a list. */
export type MemberPage = {
  /** In no promised order. */
  items: Array<Member>;
  next: Next;
};

/** At least one; they only move forward. */
export type ReceiptsPost = {
  /** The last seq that reached the user. */
  delivered?: number;
  /** The last seq that the user read; what is read is delivered. */
  read?: number;
};

/** How far a member has come. */
export type Receipt = {
  user: Id;
  /** The last seq that reached the user. */
  delivered: number;
  /** The last seq that the user read. */
  read: number;
};

/** One page of a list. */
export type ReceiptPage = {
  /** Those who have read furthest first. */
  items: Array<Receipt>;
  next: Next;
};

export type Reaction = {
  message: Id;
  user: Id;
  /** 1 to 64 bytes of UTF-8. */
  emoji: string;
};

export type MessageEntry = {
  cursor: Cursor;
  /** When it reached the mailbox. */
  at: Time;
  /** Which member holds the item. */
  type: "message";
  /** What happened to the item. */
  event: "created" | "updated" | "deleted";
  message: Message;
};

export type ReceiptEntry = {
  cursor: Cursor;
  /** When it reached the mailbox. */
  at: Time;
  /** Which member holds the item. */
  type: "receipt";
  /** What happened to the item. */
  event: "updated";
  /** Another member's marks. */
  receipt: {
    conversation: Id;
    user: Id;
    /** The last seq that reached them. */
    delivered: number;
    /** The last seq that they read. */
    read: number;
  };
};

export type ConversationEntry = {
  cursor: Cursor;
  /** When it reached the mailbox. */
  at: Time;
  /** Which member holds the item. */
  type: "conversation";
  /** What happened to the item. */
  event: "created" | "deleted";
  /** The user came into it, or is out of it. */
  conversation: {
    id: Id;
    type: ConversationType;
    /** Its name. */
    name?: string;
  };
};

/** Something that reached a user. */
export type MailboxEntry = MessageEntry | ReceiptEntry | ConversationEntry | NotificationEntry;

/** One page of a list. */
export type MailboxPage = {
  /** Oldest first. */
  items: Array<MailboxEntry>;
  next: Next;
};

export type JourneyStage = {
  /** came: its bytes could be read; relayed: the conversation's partition made the record for the recipient's; appended: handed to the log; durable: synced; applied: it took effect, and has its place in the order; written: to the sockets of who is connected. */
  stage: "came" | "relayed" | "appended" | "durable" | "applied" | "written";
  at?: Time;
  /** Milliseconds since the sender's bytes could be read. */
  after_ms: number;
};

/** Where an item is, and when it got there. Shows no content. Times are kept of what was slow and of a sample, at least 50 items a second of each shard, as long as there is room (4,096 of each shard); what is stored says who has it for as long as it is kept. */
export type Journey = {
  id: string;
  type: "message";
  conversation: Id;
  conversation_type: "direct" | "group" | "channel";
  seq: number;
  from: Id;
  created_at: Time;
  /** Deleted or expired: what is left is a stub. */
  gone: boolean;
  /** A part of its way took 20 ms and more: see /v1/slow. */
  slow: boolean;
  members: number;
  /** Of the sender's record; empty when it is not kept any more. */
  stages: Array<JourneyStage>;
  /** Members but for the sender, who joined first at first; at most 200. */
  recipients: Array<{
    user: Id;
    /** Of the device that is furthest; read: the user's receipt says so; held: it does not reach them. */
    state: "read" | "acknowledged" | "sent" | "waiting" | "offline" | "held";
    /** By which rule, in words. */
    held: string | null;
    /** Of the record in the recipient's partition; empty when it is not kept any more. */
    stages: Array<JourneyStage>;
    devices: Array<{
      device: string;
      /** sent: written, and not acknowledged; waiting: connected, and it can take no more just now; offline: it gets it when it comes back. */
      state: "acknowledged" | "sent" | "waiting" | "offline";
      connected: boolean;
      /** Milliseconds since the sender's bytes could be read. */
      written_after_ms?: number;
      acked_after_ms?: number;
    }>;
  }>;
};

export type PushKey = {
  /** 65 bytes of a P-256 point in base64url. */
  webpush: string;
};

export type Status = {
  /** In a word. */
  status: "ok" | "ready";
};

/** An OpenAPI document; its members are as OpenAPI 3.1 says. */
export type Document = {
  /** The version of OpenAPI. */
  openapi: string;
  /** As OpenAPI 3.1 says. */
  info: unknown;
  /** As OpenAPI 3.1 says. */
  servers: unknown;
  /** As OpenAPI 3.1 says. */
  security: unknown;
  /** As OpenAPI 3.1 says. */
  tags: unknown;
  /** As OpenAPI 3.1 says. */
  paths: unknown;
  /** As OpenAPI 3.1 says. */
  components: unknown;
};

/** A way to reach someone. */
export type NotificationChannel = "inapp" | "push" | "email" | "webhook";

/** ICU MessageFormat. It sees `actor` (the newest actor's name), `count` (all), `others` (all but the newest), `object` and the keys of data. One of title and body is there. Dates and times are told by the clocks of the reader's time zone, in UTC without one and in a preview. */
export type TemplateSet = {
  title?: string;
  body?: string;
  /** Of a mail; without it the title. */
  subject?: string;
  /** Of a mail; without it the body. */
  text?: string;
  /** Of a mail. Values are escaped, the template's own text is not. */
  html?: string;
};

export type Escalation = {
  after: Duration;
  /** push, email or webhook. */
  to: NotificationChannel | Array<NotificationChannel>;
  /** What of theirs stops it; seen if not said. */
  unless?: "seen" | "read";
};

export type WorkflowPut = {
  /** All that it may use. */
  channels?: Array<NotificationChannel> | null;
  /** By language: BCP 47 tags such as en or pt-BR, or `default`. */
  templates?: Record<string, TemplateSet> | null;
  /** The keys of data that triggers bring, and their kinds. When it is given, a template that uses any other variable is refused. */
  data?: Record<string, "text" | "number" | "time"> | null;
  /** Notifications with the same values become one: `actor`, `object`, a key of data (`data.KEY` too), or a list of these. */
  group_by?: string | Array<string> | null;
  digest?: {
    window: Duration;
    /** The first leaves at once, the rest of the window together at its end. */
    first_at_once?: boolean;
  } | null;
  /** high ignores quiet hours and digests, never an opt-out. Without it: normal. */
  priority?: "high" | "normal" | "low" | null;
  /** How many reach one person, by their own calendar. */
  cap?: {
    count: number;
    /** hour, day or week; a duration of that length is the same: 1h, 24h, 7d. */
    per: string;
  } | null;
  /** What follows if they do not look. A channel named here is not used at once, even if it is in `channels`. */
  escalate?: Array<Escalation> | null;
  expires_after?: Duration | null;
  /** learned: what this person is likely to open leaves, the rest waits for the digest. */
  relevance?: "learned" | {
    mode: "learned";
    /** How many should leave at once for one person in a day; 5 if not said. Workflows with the same target share it; those with another have their own. */
    target_per_day?: number;
    /** The share of decisions that a coin takes, so that what is never sent is learned about; 0.02 if not said. */
    explore?: number;
  } | null;
};

export type Workflow = {
  id: Id;
  /** All that it may use. */
  channels: Array<NotificationChannel>;
  /** By language: BCP 47 tags such as en or pt-BR, or `default`. */
  templates: Record<string, TemplateSet>;
  /** The keys of data that triggers bring, and their kinds. When it is given, a template that uses any other variable is refused. */
  data?: Record<string, "text" | "number" | "time">;
  /** Notifications with the same values become one: `actor`, `object`, a key of data (`data.KEY` too), or a list of these. */
  group_by?: string | Array<string>;
  digest?: {
    window: Duration;
    /** The first leaves at once, the rest of the window together at its end. */
    first_at_once?: boolean;
  };
  /** high ignores quiet hours and digests, never an opt-out. Without it: normal. */
  priority?: "high" | "normal" | "low";
  /** How many reach one person, by their own calendar. */
  cap?: {
    count: number;
    /** hour, day or week; a duration of that length is the same: 1h, 24h, 7d. */
    per: string;
  };
  /** What follows if they do not look. A channel named here is not used at once, even if it is in `channels`. */
  escalate?: Array<Escalation>;
  expires_after?: Duration;
  /** learned: what this person is likely to open leaves, the rest waits for the digest. */
  relevance?: "learned" | {
    mode: "learned";
    /** How many should leave at once for one person in a day; 5 if not said. Workflows with the same target share it; those with another have their own. */
    target_per_day?: number;
    /** The share of decisions that a coin takes, so that what is never sent is learned about; 0.02 if not said. */
    explore?: number;
  };
};

export type WorkflowPage = {
  items: Array<Workflow>;
  next: Next;
};

export type WorkflowPreview = {
  locale?: string | null;
  /** As a trigger's. */
  data?: Record<string, unknown> | null;
  /** The name that is shown. */
  actor?: string | null;
  count?: number | null;
  object?: string | null;
};

export type WorkflowWords = {
  /** Which of its sets was taken. */
  locale: string;
  title: string;
  body: string;
  /** Each of its parts, title and body again among them. */
  templates: {
    title: string;
    body: string;
    subject?: string;
    text?: string;
    html?: string;
  };
};

/** By channel: true or false; null takes it back. */
export type WishPut = {
  inapp?: boolean | null;
  push?: boolean | null;
  email?: boolean | null;
  webhook?: boolean | null;
};

/** By channel: false is an opt-out, which nothing overrides. */
export type Wish = {
  inapp?: boolean;
  push?: boolean;
  email?: boolean;
  webhook?: boolean;
};

/** Push and mail wait until they end; the in-app inbox does not. In the zone of the user's profile, UTC without one. Hours that pass midnight belong to the day on which they begin; where clocks change, they end when these first show `to`, and a time that clocks leave out counts as if they had not been changed yet. What is held leaves at once, or sooner, when they are changed so that they hold it no more. */
export type QuietHours = {
  from: string;
  /** Not the same as from. */
  to: string;
  /** On which they begin; without it, all. */
  days?: Array<"mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun">;
};

export type PreferencesPut = {
  /** By workflow; `*`: all others. */
  workflows?: Record<string, WishPut | null> | null;
  quiet_hours?: {
    from: string;
    /** Not the same as from. */
    to: string;
    /** On which they begin; without it, all. */
    days?: Array<"mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun"> | null;
  } | null;
  /** Until then push and mail wait; null lets them leave at once. */
  paused_until?: Time | null;
};

/** The form of RFC 8058. */
export type OneClick = {
  "List-Unsubscribe"?: "One-Click";
};

export type Preferences = {
  workflows: Record<string, Wish>;
  quiet_hours?: QuietHours;
  paused_until?: Time;
};

/** Whom it is for: exactly one of these. */
export type TriggerTo = {
  /** Their ids. */
  users: Array<Id>;
} | {
  followers_of: Id;
} | {
  topic: Id;
} | {
  /** Always true. */
  everyone: true;
};

/** A trigger of a workflow: it makes a notification for each recipient. */
export type TriggerPost = {
  /** The trigger's id, unique in the app: the same again, with the same content, happens once. Made by the server when it is not given. */
  id?: Id | null;
  workflow: Id;
  to: TriggerTo;
  /** The user who did it: their name is shown, and who blocks or mutes them is not told. */
  actor?: Id | null;
  /** What it is about; at most 256 bytes. */
  object?: string | null;
  /** For templates and for the app; at most 16 KiB. */
  data?: Record<string, unknown> | null;
  /** Not before this time. */
  send_at?: Time | null;
  /** Not shown, counted or sent from this time on. Devices are told then that it is gone. */
  expires_at?: Time | null;
  /** Takes the place of a notification of the same workflow and key that was not seen yet. */
  collapse_key?: string | null;
};

/** A trigger that was taken. */
export type Trigger = {
  id: Id;
  /** How many it is for; of an audience an estimate. */
  recipients: number;
};

/** Up to 1,000 triggers. */
export type TriggerBatch = {
  /** The triggers; each is taken or refused by itself. */
  items: Array<TriggerPost | unknown>;
};

/** A trigger of a batch that was taken. */
export type TriggerRef = {
  id: Id;
};

/** What became of each trigger of a batch, in their order. */
export type TriggersTaken = {
  /** Its id, or a problem. */
  items: Array<TriggerRef | Problem>;
};

/** A trigger and what became of it, in people. What is for a topic, followers or everyone and only for the inbox, with no digest, cap or relevance, is stored once and merged into each inbox when it is looked at: of that everyone whom nothing stands against counts as delivered from the start. What stands against it for those who have not looked yet is asked for when the totals are; where some 30,000 people and more are meant, it counts only once they look. */
export type TriggerTotals = {
  id: Id;
  workflow?: Id;
  created_at: Time;
  /** Scheduled: it waits for `send_at`. */
  state: "scheduled" | "sent" | "cancelled";
  /** People it is for: those named, also while it waits for `send_at`; of an audience those who were in it when it was sent. */
  recipients: number;
  /** Those in whose inbox it is, or was until they were done with it; what was cancelled, withdrawn or replaced before it was seen is taken off again. Of a cancelled one that inboxes merge: those who had seen it. */
  delivered: number;
  /** Those who saw it: of a group, while it was the newest in it; so with read, clicked and archived. */
  seen: number;
  /** Those who read it. */
  read: number;
  /** Those who clicked it. */
  clicked: number;
  /** Those who archived it. */
  archived: number;
  /** People for whom a push, mail or webhook was given up. */
  failed: number;
  /** People to one of whose devices a push went: a provider took it. */
  pushed: number;
  /** People to whom a mail went: a server took it. */
  mailed: number;
  /** Webhooks that answered. */
  webhooks: number;
  /** Joined a notification that was there. */
  grouped: number;
  /** Wait now: quiet hours, a pause, a digest. */
  held: number;
  /** People whom it did not reach, or not at once, and why. */
  held_back: {
    /** They block the actor. */
    blocked: number;
    /** They mute the actor. */
    muted: number;
    /** They opted out. */
    opted_out: number;
    /** The workflow's cap was reached. */
    capped: number;
    /** It expired first. */
    expired: number;
    /** It was cancelled before they saw it, or its workflow was deleted before it left. */
    cancelled: number;
    /** Another with its collapse key took its place. */
    collapsed: number;
    /** It went into a digest. */
    digested: number;
    /** It waited for the digest, as they were less likely to open it than what leaves at once. */
    unlikely: number;
    /** It was not for the inbox, and they have no address for any channel that it was to leave by. Of workflows that escalate none are counted. */
    no_address: number;
    /** They wait now. */
    waiting: number;
  };
};

/** One decision on the way of a trigger to a person. */
export type Decision = {
  at: Time;
  /** A stable code. */
  decision: string;
  /** Which channels it is about; absent: all. */
  channels?: string;
  until?: Time;
  /** The id of a notification, a provider's words, the terms of a prediction. */
  detail?: string;
  /** In words. */
  reason: string;
};

/** Every decision about a person and a trigger that is kept, oldest first. */
export type Decisions = {
  trigger: Id;
  user: Id;
  /** The decisions. */
  items: Array<Decision>;
  /** When there are none: in words. */
  reason?: string;
};

/** Who acted. */
export type NotificationActors = {
  /** How many different ones. */
  count: number;
  /** The newest few, newest first. */
  newest: Array<Id>;
};

/** A notification as its owner sees it. `id` is that of the trigger that began it, `trigger` the newest that joined it. */
export type Notification = {
  id: Id;
  trigger: Id;
  workflow: Id;
  created_at: Time;
  updated_at?: Time;
  /** In the reader's language. */
  title: string;
  /** In the reader's language. */
  body: string;
  actor?: Id;
  actors?: NotificationActors;
  /** What it is about. */
  object?: string;
  data?: Data;
  seen_at?: Time;
  read_at?: Time;
  archived_at?: Time;
  clicked_at?: Time;
  expires_at?: Time;
};

/** Of those shown, neither archived nor expired. */
export type NotificationCounts = {
  /** Not seen. */
  unseen: number;
  /** Not read. */
  unread: number;
};

/** An inbox, newest first. */
export type NotificationPage = {
  /** The notifications. */
  items: Array<Notification>;
  next: Next;
  counts: NotificationCounts;
};

/** Which notifications: either `ids`, or all up to one. */
export type MarkPost = {
  /** Their ids; those that are not there are passed over. */
  ids?: Array<Id>;
  upto?: Id;
};

/** What changed. */
export type Marked = {
  /** Notifications that were not so before. */
  changed: number;
  counts: NotificationCounts;
};

/** A notification that came, or changed. */
export type NotificationShown = {
  id: Id;
  trigger: Id;
  workflow: Id;
  created_at: Time;
  updated_at?: Time;
  /** In the reader's language. */
  title: string;
  /** In the reader's language. */
  body: string;
  actor?: Id;
  actors?: NotificationActors;
  /** What it is about. */
  object?: string;
  data?: Data;
  seen_at?: Time;
  read_at?: Time;
  archived_at?: Time;
  clicked_at?: Time;
  expires_at?: Time;
  replaces?: Id;
  counts: NotificationCounts;
};

/** Notifications were marked, perhaps on another device. */
export type NotificationMarked = {
  /** As what. */
  marked: "seen" | "read" | "archived" | "clicked";
  /** Which. */
  ids: Array<Id>;
  upto?: Id;
  counts: NotificationCounts;
};

/** A notification was taken back. */
export type NotificationGone = {
  id: Id;
  /** Why: a decision's code. */
  reason: string;
  /** Further ones that went with it. */
  more?: Array<Id>;
  counts: NotificationCounts;
};

/** Something about the user's notifications. */
export type NotificationEntry = {
  cursor: Cursor;
  at: Time;
  /** What it is. */
  type: "notification";
  /** What happened. */
  event: "created" | "updated" | "deleted";
  /** The notification, which were marked, or which is gone. */
  notification: NotificationShown | NotificationMarked | NotificationGone;
};

/** What happened; `*`: all, those of later versions too. notification.sent: a workflow with the channel webhook. message.created: each message that is stored in a conversation of the app, once; its `data` is the message as GET shows it then. */
export type WebhookEvent = "*" | "notification.sent" | "notification.seen" | "notification.read" | "notification.clicked" | "notification.archived" | "notification.failed" | "message.created";

export type WebhookPut = {
  /** https; also http to hosts of a private network where the owner allows these (`allow_private`, `--dev`). Needed when it is made. */
  url?: string;
  /** Without it, all. */
  events?: Array<WebhookEvent> | null;
  /** true: makes a new secret; the one before signs beside it for 24 hours. */
  rotate_secret?: boolean;
};

export type Webhook = {
  id: Id;
  /** https; also http to hosts of a private network where the owner allows these (`allow_private`, `--dev`). */
  url: string;
  events: Array<WebhookEvent>;
  /** It signs what is sent. */
  secret: string;
  old_secret_until?: Time;
};

export type WebhookListed = {
  id: Id;
  /** https; also http to hosts of a private network where the owner allows these (`allow_private`, `--dev`). */
  url: string;
  events: Array<WebhookEvent>;
};

export type DeadLetter = {
  id: Id;
  /** By which it was to leave. */
  channel: "push" | "email" | "webhook";
  user?: Id;
  notification?: Id;
  trigger?: Id;
  conversation?: Id;
  message?: Id;
  /** Of a webhook: what it was to be told. Of `message.created` the conversation and the message are named, of all else the user and the notification. */
  event?: string;
  device?: Id;
  webhook?: Id;
  /** Who refused it last; absent when nobody was asked. */
  provider?: string;
  /** In the provider's own word, or the server's. */
  reason: string;
  /** How often it was tried. */
  attempts: number;
  created_at: Time;
  failed_at: Time;
};

export type DeadLetterPage = {
  items: Array<DeadLetter>;
  next: Next;
};

export type DeadLetterTaken = {
  id: Id;
  /** In a word. */
  state: "sending";
};

export type WebhookPage = {
  items: Array<WebhookListed>;
  next: Next;
};

export type ChannelRule = {
  id: string;
  /** An MQTT filter. The levels {user} and {device} stand for whoever asks. */
  topic: string;
  publish: boolean | Array<string>;
  subscribe: boolean | Array<string>;
};

export type ChannelRulePut = {
  /** An MQTT filter of plain channels; needed when the rule is made. The levels {user} and {device} stand for whoever asks. */
  topic?: string;
  /** true or "*": everyone of the app; false or null: nobody; a list: these users. */
  publish?: boolean | "*" | "all" | Array<string> | null;
  /** true or "*": everyone of the app; false or null: nobody; a list: these users. */
  subscribe?: boolean | "*" | "all" | Array<string> | null;
};

export type ChannelRulePage = {
  items: Array<ChannelRule>;
  next: null;
};

/** How all goes. */
export type Flow = {
  version: string;
  started_at: Time;
  at: Time;
  /** The stages of a message's way, in order, over the last second. */
  stages: Array<{
    stage: string;
    per_s: number;
    p50_ms: number;
    p99_ms: number;
    /** What waits before it, where anything may. */
    queue?: number;
    /** Likewise, in bytes. */
    queue_bytes?: number;
  }>;
  shards: Array<{
    shard: number;
    connections: number;
    sessions: number;
    relays_waiting: number;
    jobs_waiting: number;
    dirty_bytes: number;
    cells_bytes: number;
    buffers_bytes: number;
    output_bytes: number;
  }>;
  /** Thousandths of a core, over the last second. */
  threads: Array<{
    thread: string;
    used_millicores: number;
    /** While it could run, and others had the core. */
    waited_millicores: number;
  }>;
  /** As of the last second. */
  partitions: Array<{
    partition: number;
    shard: number;
    /** Position of the first record kept; 0: none. */
    first: number;
    /** Of the last one appended. */
    last: number;
    applied: number;
    /** Records appended and not durable yet. */
    log_lag: number;
    /** Records durable and not applied yet. */
    apply_lag: number;
  }>;
  listeners: Array<{
    listener: "http" | "mqtt" | "https" | "mqtts" | "console";
    port: number;
    tls: boolean;
  }>;
  /** Since the start. */
  limits: Array<{
    limit: string;
    words: string;
    hit: number;
  }>;
  /** What was decided of notifications, by person, since the start: first the triggers. `merged` is what was stored once for an audience. */
  notifications: Array<{
    outcome: string;
    words: string;
    count: number;
  }>;
  /** By owner; resident is all, allocated what was asked for of it (0: not known). */
  memory_bytes: {
    resident: number;
    allocated: number;
    cells: number;
    store: number;
    buffers: number;
    log_queue: number;
  };
  disk_bytes: {
    free: number;
    log: number;
    tables: number;
  };
  /** An hour of seconds. */
  history: {
    /** Number of the first point given. */
    first: number;
    count: number;
    /** When each point was taken, Unix milliseconds: the first, then differences. */
    at: Array<number>;
    /** By name; `_per_s`, `_us`, `_kib`, `_mib` and `_millicores` are units. The first value, then differences; what is left out at the end is 0. */
    columns: Record<string, Array<number>>;
  };
};

/** How far a user's sessions are in their mailbox. */
export type UserSessions = {
  user: string;
  mailbox: {
    partition: number;
    /** Cursors before it are past retention. */
    first_kept: number;
    /** Position of the newest entry. */
    last: number;
  };
  items: Array<{
    device: string;
    connected: boolean;
    protocol?: "mqtt3" | "mqtt5" | "sse";
    left_at?: Time;
    /** It outlives its connection. */
    kept: boolean;
    /** Seconds after its connection ends; 4294967295: never. */
    expires_after?: number;
    subscriptions: number;
    /** Messages sent at QoS 1 or 2 that the device has not acknowledged. */
    unacknowledged: number;
    /** Position of the last entry sent on this connection. */
    sent: number;
    /** Position up to which all is acknowledged. */
    acknowledged: number;
    /** The same, as the mailbox takes it. */
    cursor: string;
    /** Entries after it, counted up to 1000. */
    waiting: number;
  }>;
};

/** Why something was slow: the first cause. */
export type CauseCode = "disk_sync" | "cpu_taken" | "stopped" | "tables_stall" | "fan_out" | "hot_conversation" | "slow_reader" | "handshake_storm" | "lock" | "clock_jump" | "client_retries" | "shard_busy" | "load" | "unknown";

export type CauseCount = {
  code: CauseCode;
  count: number;
  words: string;
  /** At `/v1/slow`: the slowest with this cause, which may not be among the `items`. */
  slowest?: Slow;
};

export type Slow = {
  at: Time;
  what: "message" | "request" | "connect" | "device";
  /** null: another app's, or not known. */
  app: string | null;
  conversation?: string;
  /** Of a message. */
  id?: string;
  /** Of a request. */
  route?: string;
  /** Of a connect or a device. */
  user?: string;
  device?: string;
  took_ms: number;
  /** stored: until its sender was told; delivered: until it was written to devices; mailbox: until it waited for devices that were away; answered: a request, a connect. */
  path: "stored" | "delivered" | "mailbox" | "answered";
  stages: Array<{
    stage: "wait" | "durable" | "apply" | "before" | "hop" | "hop_durable" | "hop_apply" | "write";
    ms: number;
  }>;
  cause: {
    code: CauseCode;
    words: string;
    evidence: SlowEvidence | null;
    /** What helps. */
    do: string;
  };
};

/** The event that explains most of it: its kind, time and numbers. */
export type SlowEvidence = {
  /** Its kind. */
  event: string;
  at: Time;
  /** How long it lasted. */
  ms: number;
  /** Where. */
  thread: string;
  /** How many of this cause there were in that time. */
  events: number;
  /** How many slow ones have this same evidence. */
  slow: number;
  /** Of a commit, a batch for the tables, a device's output. */
  bytes?: number;
  /** Of a commit: its sync. */
  sync_ms?: number;
  /** Without a core. */
  delayed_ms?: number;
  /** That it went to. */
  devices?: number;
  /** Of one partition in one turn. */
  records?: number;
  /** Which. */
  partition?: number;
  /** Sent again. */
  times?: number;
  /** How many. */
  handshakes?: number;
  /** What they took. */
  handshakes_ms?: number;
  /** Of the wall clock. */
  jump_ms?: number;
  /** That waited. */
  jobs?: number;
  /** For whom. */
  waited_for_shard?: number;
  /** Which. */
  lock?: string;
  /** That took most of a turn. */
  phase?: string;
  /** What it took. */
  phase_ms?: number;
  /** Only of the key's own app. */
  app?: string;
  /** Likewise. */
  conversation?: string;
  /** Likewise. */
  user?: string;
  /** Likewise. */
  device?: string;
};

export type SlowPage = {
  items: Array<Slow>;
  causes: Array<CauseCount>;
  /** How many were slow; causes count those that are kept. */
  slow: number;
  /** Records and requests in that time. */
  done: number;
  since: Time;
};

export type Check = {
  check: string;
  status: "ok" | "warning" | "critical";
  words: string;
  do?: string;
  /** The numbers that the check is about. */
  evidence?: {
    /** Slow ones. */
    slow?: number;
    /** Records and requests. */
    done?: number;
    /** Of them. */
    percent?: number;
    /** How many. */
    events?: number;
    /** Together. */
    total_ms?: number;
    /** The longest. */
    worst_ms?: number;
    worst_at?: Time;
    /** Of who did it most, if it is the asker's. */
    app?: string;
    /** Who did it most. */
    user?: string;
    /** Connections. */
    open?: number;
    /** At most. */
    most?: number;
    /** Of the trial. */
    median_ms?: number;
    /** Of the trial. */
    syncs?: number;
    /** Of the disk. */
    free_bytes?: number;
    /** Of the disk. */
    bytes?: number;
  };
};

export type Doctor = {
  status: "ok" | "warning" | "critical";
  words: string;
  checks: Array<Check>;
  causes: Array<CauseCount>;
  since: Time;
};

export type Session = {
  user?: string;
  /** The MQTT client id. */
  device: string;
  protocol: "mqtt3" | "mqtt5" | "sse";
  /** It outlives its connection. */
  kept: boolean;
  /** Seconds after its connection ends; 4294967295: never. */
  expires_after?: number;
  subscriptions: number;
  /** Messages sent at QoS 1 or 2 that the device has not acknowledged. */
  unacknowledged: number;
};

export type SessionPage = {
  items: Array<Session>;
  next: string | null;
};

/** Every call: what it takes, and what it answers. */
export interface Operations {
  /** Make or change a user */
  "PUT /v1/users/{id}": {
    path: { id: Id };
    body: UserPut;
    answer: User;
  };
  /** Read a user */
  "GET /v1/users/{id}": {
    path: { id: Id };
    answer: User;
  };
  /** Erase a user everywhere */
  "DELETE /v1/users/{id}": {
    path: { id: Id };
    answer: null;
  };
  /** Read all that is held of a user */
  "GET /v1/users/{id}/export": {
    path: { id: Id };
    query?: { cursor?: Cursor };
    answer: Export;
  };
  /** Follow another user */
  "PUT /v1/users/{id}/follows/{other}": {
    path: { id: Id; other: Id };
    body?: Nothing;
    answer: UserId;
  };
  /** Unfollow another user */
  "DELETE /v1/users/{id}/follows/{other}": {
    path: { id: Id; other: Id };
    answer: null;
  };
  /** Block another user */
  "PUT /v1/users/{id}/blocks/{other}": {
    path: { id: Id; other: Id };
    body?: Nothing;
    answer: UserId;
  };
  /** Unblock another user */
  "DELETE /v1/users/{id}/blocks/{other}": {
    path: { id: Id; other: Id };
    answer: null;
  };
  /** Mute another user */
  "PUT /v1/users/{id}/mutes/{other}": {
    path: { id: Id; other: Id };
    body?: Nothing;
    answer: UserId;
  };
  /** Unmute another user */
  "DELETE /v1/users/{id}/mutes/{other}": {
    path: { id: Id; other: Id };
    answer: null;
  };
  /** List whom a user follows */
  "GET /v1/users/{id}/follows": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserPage;
  };
  /** List who follows a user */
  "GET /v1/users/{id}/followers": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserPage;
  };
  /** List whom a user blocks */
  "GET /v1/users/{id}/blocks": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserPage;
  };
  /** List whom a user mutes */
  "GET /v1/users/{id}/mutes": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserPage;
  };
  /** How many are in a topic */
  "GET /v1/topics/{topic}": {
    path: { topic: Id };
    answer: Topic;
  };
  /** Add users to a topic and remove others */
  "POST /v1/topics/{topic}/users": {
    path: { topic: Id };
    body: TopicUsers;
    answer: TopicChange;
  };
  /** List who is in a topic */
  "GET /v1/topics/{topic}/users": {
    path: { topic: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserPage;
  };
  /** Add a user to a topic */
  "PUT /v1/topics/{topic}/users/{id}": {
    path: { topic: Id; id: Id };
    body?: Nothing;
    answer: UserId;
  };
  /** Remove a user from a topic */
  "DELETE /v1/topics/{topic}/users/{id}": {
    path: { topic: Id; id: Id };
    answer: null;
  };
  /** List the topics that a user is in */
  "GET /v1/users/{id}/topics": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: TopicPage;
  };
  /** Make a device token */
  "POST /v1/users/{id}/tokens": {
    path: { id: Id };
    header?: { "Idempotency-Key"?: string };
    body: TokenPost;
    answer: Token;
  };
  /** Make or change a device */
  "PUT /v1/users/{id}/devices/{device}": {
    path: { id: Id; device: Id };
    body?: DevicePut;
    answer: Device;
  };
  /** Delete a device */
  "DELETE /v1/users/{id}/devices/{device}": {
    path: { id: Id; device: Id };
    answer: null;
  };
  /** List a user's devices */
  "GET /v1/users/{id}/devices": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: DevicePage;
  };
  /** Put a device's prekeys */
  "PUT /v1/users/{id}/keys/{device}": {
    path: { id: Id; device: Id };
    body: KeysPut;
    answer: KeysStored;
  };
  /** Take one bundle of prekeys a device */
  "POST /v1/users/{id}/keys/claim": {
    path: { id: Id };
    header?: { "Idempotency-Key"?: string };
    body?: KeysClaim;
    answer: KeysClaimed;
  };
  /** Read what reached a user */
  "GET /v1/users/{id}/mailbox": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: MailboxPage;
  };
  /** Follow what reaches a user, live */
  "GET /v1/users/{id}/stream": {
    path: { id: Id };
    header?: { "Last-Event-ID"?: Cursor };
    answer: string;
  };
  /** List a user's conversations */
  "GET /v1/users/{id}/conversations": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor };
    answer: UserConversationPage;
  };
  /** Mute or archive a conversation for a user */
  "PUT /v1/users/{id}/conversations/{c}": {
    path: { id: Id; c: Id };
    body: UserConversationPut;
    answer: UserConversationSet;
  };
  /** Tell whether a user is online */
  "PUT /v1/users/{id}/presence": {
    path: { id: Id };
    body: PresencePut;
    answer: null;
  };
  /** Make or change a conversation, add members */
  "PUT /v1/conversations/{id}": {
    path: { id: Id };
    query?: { user?: Id };
    body: ConversationPut;
    answer: Conversation;
  };
  /** Read a conversation */
  "GET /v1/conversations/{id}": {
    path: { id: Id };
    query?: { user?: Id };
    answer: Conversation;
  };
  /** List the members */
  "GET /v1/conversations/{id}/members": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor; user?: Id };
    answer: MemberPage;
  };
  /** Add a member or change a role */
  "PUT /v1/conversations/{id}/members/{user}": {
    path: { id: Id; user: Id };
    query?: { user?: Id };
    body?: MemberPut;
    answer: MemberRole;
  };
  /** Remove a member, or leave */
  "DELETE /v1/conversations/{id}/members/{user}": {
    path: { id: Id; user: Id };
    query?: { user?: Id };
    answer: null;
  };
  /** Send a message */
  "POST /v1/conversations/{id}/messages": {
    path: { id: Id };
    query?: { user?: Id };
    header?: { "Idempotency-Key"?: string };
    body: MessagePost;
    answer: Message;
  };
  /** List messages */
  "GET /v1/conversations/{id}/messages": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor; before?: number; after?: number; user?: Id };
    answer: MessagePage;
  };
  /** Read a message */
  "GET /v1/conversations/{id}/messages/{m}": {
    path: { id: Id; m: Id };
    query?: { user?: Id };
    answer: Message;
  };
  /** Edit a message */
  "PATCH /v1/conversations/{id}/messages/{m}": {
    path: { id: Id; m: Id };
    query?: { user?: Id };
    body: MessagePatch;
    answer: Message;
  };
  /** Delete a message for everyone */
  "DELETE /v1/conversations/{id}/messages/{m}": {
    path: { id: Id; m: Id };
    query?: { user?: Id };
    answer: null;
  };
  /** List the replies to a message */
  "GET /v1/conversations/{id}/messages/{m}/replies": {
    path: { id: Id; m: Id };
    query?: { limit?: number; cursor?: Cursor; user?: Id };
    answer: MessagePage;
  };
  /** React to a message */
  "PUT /v1/conversations/{id}/messages/{m}/reactions/{emoji}": {
    path: { id: Id; m: Id; emoji: string };
    query?: { user?: Id };
    body?: Nothing;
    answer: Reaction;
  };
  /** Take a reaction back */
  "DELETE /v1/conversations/{id}/messages/{m}/reactions/{emoji}": {
    path: { id: Id; m: Id; emoji: string };
    query?: { user?: Id };
    answer: null;
  };
  /** Say how far a user has come */
  "POST /v1/conversations/{id}/receipts": {
    path: { id: Id };
    query?: { user?: Id };
    body: ReceiptsPost;
    answer: Receipt;
  };
  /** List how far the members have come */
  "GET /v1/conversations/{id}/receipts": {
    path: { id: Id };
    query?: { limit?: number; cursor?: Cursor; user?: Id };
    answer: ReceiptPage;
  };
  /** Tell that a user is typing */
  "POST /v1/conversations/{id}/typing": {
    path: { id: Id };
    query?: { user?: Id };
    body?: Nothing;
    answer: null;
  };
  /** Read the counters */
  "GET /metrics": {
    answer: string;
  };
  /** Ask for the key that pages subscribe to Web Push with */
  "GET /v1/push/key": {
    answer: PushKey;
  };
  /** Ask whether the server runs */
  "GET /healthz": {
    answer: Status;
  };
  /** Ask whether the server takes requests */
  "GET /readyz": {
    answer: Status;
  };
  /** Read this document */
  "GET /openapi.json": {
    answer: Document;
  };
  /** Trigger a workflow */
  "POST /v1/notifications": {
    header?: { "Idempotency-Key"?: string };
    body: TriggerPost;
    answer: Trigger;
  };
  /** Trigger up to 1,000 times */
  "POST /v1/notifications/batch": {
    header?: { "Idempotency-Key"?: string };
    body: TriggerBatch;
    answer: TriggersTaken;
  };
  /** Show what became of a trigger */
  "GET /v1/notifications/{trigger}": {
    path: { trigger: Id };
    answer: TriggerTotals;
  };
  /** Cancel a trigger */
  "DELETE /v1/notifications/{trigger}": {
    path: { trigger: Id };
    answer: null;
  };
  /** Tell why a person was, or was not, notified */
  "GET /v1/notifications/{trigger}/why/{user}": {
    path: { trigger: Id; user: Id };
    answer: Decisions;
  };
  /** List a user's notifications */
  "GET /v1/users/{id}/notifications": {
    path: { id: Id };
    query?: { state?: "unseen" | "unread" | "archived" | "unarchived" | "all"; limit?: number; cursor?: Cursor };
    answer: NotificationPage;
  };
  /** Mark notifications as seen */
  "POST /v1/users/{id}/notifications/seen": {
    path: { id: Id };
    body: MarkPost;
    answer: Marked;
  };
  /** Mark notifications as read */
  "POST /v1/users/{id}/notifications/read": {
    path: { id: Id };
    body: MarkPost;
    answer: Marked;
  };
  /** Mark notifications as archived */
  "POST /v1/users/{id}/notifications/archived": {
    path: { id: Id };
    body: MarkPost;
    answer: Marked;
  };
  /** Mark notifications as clicked */
  "POST /v1/users/{id}/notifications/clicked": {
    path: { id: Id };
    body: MarkPost;
    answer: Marked;
  };
  /** List the app's workflows */
  "GET /v1/workflows": {
    query?: { limit?: number; cursor?: Cursor };
    answer: WorkflowPage;
  };
  /** Make or change a workflow */
  "PUT /v1/workflows/{id}": {
    path: { id: string };
    body: WorkflowPut;
    answer: Workflow;
  };
  /** Look at a workflow */
  "GET /v1/workflows/{id}": {
    path: { id: string };
    answer: Workflow;
  };
  /** Remove a workflow */
  "DELETE /v1/workflows/{id}": {
    path: { id: string };
    answer: null;
  };
  /** Show a workflow's words */
  "POST /v1/workflows/{id}/preview": {
    path: { id: string };
    body: WorkflowPreview;
    answer: WorkflowWords;
  };
  /** Say how a user wants to be told */
  "PUT /v1/users/{id}/preferences": {
    path: { id: Id };
    body: PreferencesPut;
    answer: Preferences;
  };
  /** Look at how a user wants to be told */
  "GET /v1/users/{id}/preferences": {
    path: { id: Id };
    answer: Preferences;
  };
  /** Look at the page of a mail's link */
  "GET /v1/unsubscribe/{token}": {
    path: { token: string };
    header?: { "Accept-Language"?: string };
    answer: string;
  };
  /** Unsubscribe by a mail's link */
  "POST /v1/unsubscribe/{token}": {
    path: { token: string };
    query?: { lang?: string };
    answer: string;
  };
  /** List what could not be sent */
  "GET /v1/dead-letters": {
    query?: { limit?: number; cursor?: Cursor };
    answer: DeadLetterPage;
  };
  /** Send a dead letter again */
  "POST /v1/dead-letters/{id}/retry": {
    path: { id: Id };
    body?: Nothing;
    answer: DeadLetterTaken;
  };
  /** List the app's webhooks */
  "GET /v1/webhooks": {
    query?: { limit?: number; cursor?: Cursor };
    answer: WebhookPage;
  };
  /** Make or change a webhook */
  "PUT /v1/webhooks/{id}": {
    path: { id: string };
    body: WebhookPut;
    answer: Webhook;
  };
  /** Look at a webhook */
  "GET /v1/webhooks/{id}": {
    path: { id: string };
    answer: Webhook;
  };
  /** Remove a webhook */
  "DELETE /v1/webhooks/{id}": {
    path: { id: string };
    answer: null;
  };
  /** List the app's channel rules */
  "GET /v1/channel-rules": {
    query?: { limit?: number };
    answer: ChannelRulePage;
  };
  /** Say who may use a plain MQTT channel */
  "PUT /v1/channel-rules/{id}": {
    path: { id: string };
    body: ChannelRulePut;
    answer: ChannelRule;
  };
  /** Look at a channel rule */
  "GET /v1/channel-rules/{id}": {
    path: { id: string };
    answer: ChannelRule;
  };
  /** Remove a channel rule */
  "DELETE /v1/channel-rules/{id}": {
    path: { id: string };
    answer: null;
  };
  /** See how all goes, now and over the last hour */
  "GET /v1/flow": {
    query?: { since?: number };
    answer: Flow;
  };
  /** See how far each of a user's sessions is */
  "GET /v1/users/{id}/sessions": {
    path: { id: Id };
    answer: UserSessions;
  };
  /** Where is my message: each stage with its time, each device */
  "GET /v1/items/{id}/journey": {
    path: { id: Id };
    query?: { conversation?: Id };
    answer: Journey;
  };
  /** What was slow in the last ten minutes, and why */
  "GET /v1/slow": {
    query?: { limit?: number };
    answer: SlowPage;
  };
  /** Whether the server is well, and what to do */
  "GET /v1/doctor": {
    answer: Doctor;
  };
  /** List the sessions that are connected */
  "GET /v1/sessions": {
    query?: { limit?: number; cursor?: Cursor };
    answer: SessionPage;
  };
  /** End a session */
  "DELETE /v1/sessions/{device}": {
    path: { device: string };
    query?: { user?: string };
    answer: null;
  };
}
