-- Payments: what was charged, what was not, and what nobody knows yet.

-- migration 1: payments
create table payments (
  id              uuid primary key,
  customer_id     uuid not null,
  order_id        text not null,
  idempotency_key text not null,
  request_hash    text not null,
  amount          bigint not null check (amount > 0), -- minor units
  currency        text not null,
  method          text not null,
  card_brand      text not null,
  card_last4      text not null check (card_last4 ~ '^[0-9]{4}$'),
  status          text not null default 'pending' check (status in
                  ('pending', 'captured', 'declined', 'failed', 'uncertain')),
  code            text,
  authorization_id text,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  constraint payments_once unique (customer_id, idempotency_key)
);

-- An order is charged at most once, whatever keys its payments came with.
create unique index payments_one_per_order on payments (order_id)
  where status in ('pending', 'captured', 'uncertain');

create index payments_by_order on payments (order_id, created_at);

-- migration 2: accounts beside cards, refunds, and orders that must not be charged
alter table payments
  -- A row that is voided stands for an order that no payment may take up any more.
  alter column customer_id drop not null,
  alter column idempotency_key drop not null,
  alter column request_hash drop not null,
  alter column amount drop not null,
  alter column currency drop not null,
  alter column method drop not null,
  alter column card_brand drop not null,
  alter column card_last4 drop not null,
  add column seq bigint generated always as identity,
  add column caller text, -- whose key it is: who asked, not whose money it is
  add column country text check (country ~ '^[A-Z]{2}$'),
  add column paypal_email text, -- masked
  add column iban_country text,
  add column iban_last4 text,
  add column refunded bigint not null default 0, -- minor units that are back
  add column attempt integer not null default 1, -- whoever takes it up raises it
  add column attempt_at timestamptz not null default now(),
  add column uncertain_at timestamptz, -- when it first was
  add column void_due boolean not null default false, -- the acquirer may hold money for it
  drop constraint payments_status_check,
  drop constraint payments_once;

update payments set caller = customer_id::text, attempt_at = updated_at,
  uncertain_at = case status when 'uncertain' then updated_at end;

alter table payments
  add constraint payments_status_check check (status in
    ('pending', 'captured', 'declined', 'failed', 'uncertain', 'refunded', 'voided')),
  add constraint payments_whole check (status = 'voided' or
    (customer_id is not null and caller is not null and idempotency_key is not null
     and request_hash is not null and amount is not null and currency is not null
     and method is not null)),
  add constraint payments_refunded check
    (refunded between 0 and coalesce(amount, 0)
     and (status = 'refunded') = (refunded > 0 and refunded = amount)
     and (refunded = 0 or status in ('captured', 'refunded'))),
  add constraint payments_once unique (caller, idempotency_key);

-- Refunded: the order was paid and undone, it is not charged a second time.
drop index payments_one_per_order;
create unique index payments_one_per_order on payments (order_id)
  where status in ('pending', 'captured', 'uncertain', 'refunded', 'voided');

create index payments_open on payments (attempt_at)
  where status in ('pending', 'uncertain');
create index payments_void_due on payments (attempt_at) where void_due;
create unique index payments_in_order on payments (seq);
create index payments_by_customer on payments (customer_id, seq);

create table refunds (
  id              uuid primary key,
  seq             bigint generated always as identity,
  payment_id      uuid not null references payments (id),
  caller          text not null,
  idempotency_key text not null,
  request_hash    text not null,
  amount          bigint not null check (amount > 0), -- minor units
  reason          text,
  status          text not null default 'pending' check (status in
                  ('pending', 'done', 'failed', 'uncertain')),
  code            text,
  attempt         integer not null default 1,
  attempt_at      timestamptz not null default now(),
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  constraint refunds_once unique (caller, idempotency_key)
);

create index refunds_by_payment on refunds (payment_id, seq);
create index refunds_open on refunds (attempt_at)
  where status in ('pending', 'uncertain');

-- migration 3: leases
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
