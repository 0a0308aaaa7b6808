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

-- migration 2: versions, pages, billing, and how an order was cancelled
-- What waited as release_pending is over: its hold has expired long ago.
update orders set compensation = null where compensation is not null;

alter table orders
  drop constraint orders_compensation_check,
  add constraint orders_compensation_check
    check (compensation in ('refund_pending')), -- money that is still to be given back
  add column version       integer not null default 1, -- grows with every change
  add column seq           bigint,          -- lists are in its order
  add column method        text not null default 'card',
  add column country       text check (country ~ '^[A-Z]{2}$'), -- of the bill
  add column note          text,            -- the customer's own words
  add column cancelled_at  timestamptz,
  add column cancel_reason text,
  add column tried_at      timestamptz;     -- when recovery last took it up

update orders o set seq = n.place
  from (select id, row_number() over (order by created_at, id) as place from orders) as n
  where n.id = o.id;
update orders set cancelled_at = updated_at where status = 'cancelled';

alter table orders
  alter column seq set not null,
  alter column seq add generated always as identity,
  add constraint orders_cancelled_when
    check ((status = 'cancelled') = (cancelled_at is not null)),
  -- Only a cancelled order that was paid owes money.
  add constraint orders_owed
    check (compensation is null or status = 'cancelled' and payment_id is not null);
select setval(pg_get_serial_sequence('orders', 'seq'),
              (select coalesce(max(seq), 0) + 1 from orders), false);

create unique index orders_in_order on orders (seq);
create index orders_by_customer on orders (customer_id, seq);
create index orders_by_status on orders (status, seq);
create index order_items_by_sku on order_items (sku, order_id);

-- migration 3: who leads a job, and until when: lib/leader.lua
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

-- migration 4: messages that were taken: lib/inbox.lua
create table inbox (
  queue      text not null,
  message_id text not null,
  taken_at   timestamptz not null default now(),
  primary key (queue, message_id)
);

create index inbox_by_age on inbox (taken_at);
