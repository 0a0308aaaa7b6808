-- Orders: what was asked for, how far it got, and what still has to be told.

-- migration 1: orders, their lines, the outbox
create table orders (
  id              uuid primary key,
  customer_id     uuid not null,
  email           text not null,
  status          text not null default 'pending' check (status in
                  ('pending', 'processing', 'shipped', 'delivered', 'cancelled')),
  total           bigint not null check (total > 0), -- minor units
  currency        text not null,
  idempotency_key text not null,
  request_hash    text not null,
  reservation_id  uuid,
  payment_id      uuid,
  failure         jsonb,          -- why it was cancelled, as the caller was told
  compensation    text check (compensation in ('release_pending')), -- still to be undone
  traceparent     text,           -- of the request that placed it
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  constraint orders_once unique (customer_id, idempotency_key)
);

create index orders_unfinished on orders (updated_at)
  where status = 'pending' or compensation is not null;

create table order_items (
  order_id   uuid not null references orders (id) on delete cascade,
  position   integer not null,
  sku        text not null,
  quantity   integer not null check (quantity > 0),
  unit_price bigint not null check (unit_price >= 0),
  primary key (order_id, position)
);

-- Events of committed transactions that wait for the broker's confirm: lib/outbox.lua.
create table outbox (
  id          uuid primary key,
  seq         bigint generated always as identity,
  routing_key text not null,
  body        jsonb not null,
  traceparent text,
  tracestate  text,
  created_at  timestamptz not null default now()
);

create index outbox_in_order on outbox (seq);
