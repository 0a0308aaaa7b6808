-- Notifications: what was told to whom. An event is told once.

-- migration 1: notifications
create table notifications (
  id         uuid primary key,
  seq        bigint generated always as identity, -- order of lists, and their cursor
  event_id   uuid not null,
  user_id    uuid not null,
  order_id   text not null,
  type       text not null check (type in ('email')),
  template   text not null,
  recipient  text not null,
  subject    text not null,
  body       text not null,
  status     text not null check (status in ('sent', 'failed')),
  created_at timestamptz not null default now(),
  constraint notifications_once unique (event_id)
);

create index notifications_by_user on notifications (user_id, seq desc);

-- migration 2: text messages, preferences, and sending after the event is taken
alter table notifications
  alter column event_id drop not null, -- one that was asked for by POST has no event
  alter column order_id drop not null,
  alter column subject drop not null,  -- text messages have none
  drop constraint notifications_once,
  add constraint notifications_once unique (event_id, type),
  drop constraint notifications_type_check,
  add constraint notifications_type_check check (type in ('email', 'sms')),
  drop constraint notifications_status_check,
  add constraint notifications_status_check
    check (status in ('queued', 'sent', 'failed', 'suppressed')),
  add column attempts integer not null default 0, -- that have come to an end
  add column next_attempt_at timestamptz, -- not before; whoever takes the row moves it
  add column sent_at timestamptz,
  add column last_error text,
  add column traceparent text, -- a later attempt belongs to the trace of its cause
  add column tracestate text,
  add column requested_by text, -- who asked for it by POST, with which key, for what
  add column idempotency_key text,
  add column request_hash text,
  add constraint notifications_asked_once unique (requested_by, idempotency_key),
  add constraint notifications_queued_are_due
    check ((status = 'queued') = (next_attempt_at is not null));

update notifications set sent_at = created_at, attempts = 1 where status = 'sent';

create index notifications_due on notifications (next_attempt_at) where status = 'queued';

-- What a customer wants to be told by. No row: the defaults.
create table preferences (
  user_id    uuid primary key,
  email      boolean not null default true,
  sms        boolean not null default false,
  phone      text check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  version    integer not null default 1,
  updated_at timestamptz not null default now(),
  constraint preferences_sms_has_a_phone check (not sms or phone is not null)
);

-- What the mock mail server and the mock phone network took: they know a message by its id.
create table mock_deliveries (
  message_id   uuid primary key,
  channel      text not null check (channel in ('email', 'sms')),
  recipient    text not null,
  subject      text,
  body         text not null,
  delivered_at timestamptz not null default now()
);
create index mock_deliveries_by_age on mock_deliveries (delivered_at);

-- Who leads a job, and until when: lib/leader.lua.
create table leases (
  name            text primary key,
  owner           uuid not null,
  run             bigint not null default 1,
  held_until      timestamptz not null,
  next_at         timestamptz not null,
  started_at      timestamptz not null default now(),
  finished_at     timestamptz,
  last_success_at timestamptz
);
