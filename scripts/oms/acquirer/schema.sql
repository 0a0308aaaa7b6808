-- Acquirer: the card network's own books. Nobody else reads them.

-- migration 1: authorizations
create table authorizations (
  id              uuid primary key,
  idempotency_key text not null unique,
  outcome         text not null check (outcome in ('approved', 'declined')),
  code            text,
  amount          bigint not null check (amount > 0),
  currency        text not null,
  brand           text not null,
  last4           text not null,
  reference       text not null,
  created_at      timestamptz not null default now()
);
