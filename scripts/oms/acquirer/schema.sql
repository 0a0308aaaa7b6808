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

-- migration 2: captures, voids and refunds
alter table authorizations
  -- A key that was voided before it was used has nothing but its key.
  alter column amount drop not null,
  alter column currency drop not null,
  alter column brand drop not null,
  alter column last4 drop not null,
  alter column reference drop not null,
  add column method text not null default 'card'
    check (method in ('card', 'paypal', 'bank_transfer')),
  add column state text not null default 'authorized'
    check (state in ('authorized', 'captured', 'voided', 'declined')),
  add column captured_amount bigint not null default 0,
  add column refunded_amount bigint not null default 0,
  add column captures_late boolean not null default false, -- of a test card
  add column refund_failures integer not null default 0    -- of a test card: still to come
    check (refund_failures >= 0),
  add column updated_at timestamptz not null default now();

-- Until now an approval was the charge itself.
update authorizations
   set state = case outcome when 'approved' then 'captured' else 'declined' end,
       captured_amount = case outcome when 'approved' then amount else 0 end;

alter table authorizations
  add constraint authorizations_money check
    (refunded_amount between 0 and captured_amount
     and captured_amount <= coalesce(amount, 0)
     and (captured_amount > 0) = (state = 'captured'));

create table refunds (
  id               uuid primary key,
  idempotency_key  text not null unique,
  authorization_id uuid not null references authorizations (id),
  amount           bigint not null check (amount > 0),
  created_at       timestamptz not null default now()
);
