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
