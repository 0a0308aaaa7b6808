-- Inventory: what is on the shelves, what is promised, and why it changed.
-- core/stock works on these tables; see core/stock/reserve.h for the order of its locks.

-- migration 1: products, stock, holds, movements
create table products (
  sku                 text primary key,
  name                text not null,
  unit_price          bigint not null check (unit_price > 0), -- minor units
  currency            text not null default 'USD',
  low_stock_threshold integer not null default 10 check (low_stock_threshold >= 0)
);

create table stock (
  sku       text not null references products (sku),
  warehouse text not null,
  on_hand   integer not null check (on_hand >= 0),
  reserved  integer not null default 0 check (reserved >= 0),
  primary key (sku, warehouse),
  check (reserved <= on_hand)
);

-- A hold is stock promised to an order: held, and then released, sold or expired.
create table holds (
  id         uuid primary key,
  order_id   text not null unique,
  state      text not null check (state in ('held', 'released', 'sold', 'expired')),
  expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create index holds_by_expiry on holds (expires_at) where state = 'held';

create table hold_lines (
  hold_id   uuid not null references holds (id) on delete cascade,
  sku       text not null,
  warehouse text not null,
  quantity  integer not null check (quantity > 0),
  primary key (hold_id, sku, warehouse),
  foreign key (sku, warehouse) references stock (sku, warehouse)
);

create table movements (
  id         bigint generated always as identity primary key,
  sku        text not null,
  warehouse  text not null,
  quantity   integer not null,
  reason     text not null,
  order_id   text,
  created_at timestamptz not null default now()
);

create index movements_by_sku on movements (sku, id);

-- migration 2: a hundred products in two warehouses
-- Every number follows from the SKU's own, so each lab starts with the same shelves.
-- SKU-0001 is plentiful; every seventeenth is nearly gone.
insert into products (sku, name, unit_price, low_stock_threshold)
select 'SKU-' || lpad(i::text, 4, '0'),
       (array['Brass', 'Oak', 'Slate', 'Linen', 'Copper', 'Birch', 'Glass', 'Wool',
              'Steel', 'Clay'])[1 + (i - 1) % 10] || ' ' ||
       (array['sundial', 'orrery', 'astrolabe', 'globe', 'compass', 'telescope',
              'almanac', 'sextant', 'hourglass', 'star chart'])[1 + (i - 1) / 10],
       499 + (i * 7919) % 9500,
       10
from generate_series(1, 100) as i;

insert into stock (sku, warehouse, on_hand)
select 'SKU-' || lpad(i::text, 4, '0'),
       warehouse,
       case when i = 1 then 100000
            when i % 17 = 0 then case warehouse when 'east' then 3 else 2 end
            when warehouse = 'east' then 200 + (i * 37) % 400
            else 100 + (i * 53) % 300 end
from generate_series(1, 100) as i, unnest(array['east', 'west']) as warehouse;

insert into movements (sku, warehouse, quantity, reason)
select sku, warehouse, on_hand, 'initial' from stock order by sku, warehouse;

-- migration 3: what was sold may come back
alter table holds drop constraint holds_state_check;
alter table holds add constraint holds_state_check
  check (state in ('held', 'released', 'sold', 'expired', 'returned'));

-- migration 4: stock is adjusted by hand, once per idempotency key
alter table movements add column note text;
alter table movements add column actor text; -- who adjusted; an order's have none
alter table movements add constraint movements_reason_check check (reason in (
  'initial', 'sold', 'returned', 'received', 'damaged', 'lost', 'found', 'correction'));

-- The answer is kept with the key: the same request again gets it again.
create table adjustments (
  actor           text not null,
  idempotency_key text not null,
  request_hash    text not null,
  movement_id     bigint references movements (id),
  on_hand         integer,
  reserved        integer,
  created_at      timestamptz not null default now(),
  primary key (actor, idempotency_key)
);

-- migration 5: low stock is told once, by one replica
-- Null: there is more than the threshold, or the crossing has not been told yet.
alter table products add column low_since timestamptz;

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
