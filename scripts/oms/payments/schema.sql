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
