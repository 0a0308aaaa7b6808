-- Users: who may ask. One table; an address belongs to one user, whatever its case.

-- migration 1: users
create table users (
  id            uuid primary key,
  email         text not null,
  name          text not null default '',
  role          text not null default 'customer' check (role in ('customer', 'admin')),
  password_hash text not null,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now()
);

create unique index users_email_once on users (lower(email));

-- migration 2: the lab's customer and administrator
-- Passwords: demo-password, admin-password (argon2id, 2 passes, 19 MiB).
insert into users (id, email, name, role, password_hash) values
  ('00000000-0000-4000-8000-000000000001',
   'demo@orrery.test', 'Demo Customer', 'customer',
   '$argon2id$v=19$m=19456,t=2,p=1$DwD94ma+TJ3gORSswLvZog$hu+nsxje+wAm72S+dmq67CkgZx6YnlHoV07TA11HedY'),
  ('00000000-0000-4000-8000-000000000002',
   'admin@orrery.test', 'Lab Administrator', 'admin',
   '$argon2id$v=19$m=19456,t=2,p=1$KYQb2ler055xntVlfUkDng$sz+5knBbWwieiPeBw59s78x6ZmNSmdP796s66ZUa1ds');

-- migration 3: operators, profiles, versions, pages
-- seq grows in the order in which users came, for lists by the page.
alter table users drop constraint users_role_check;
alter table users add constraint users_role_check
  check (role in ('customer', 'operator', 'admin'));
alter table users add column phone text not null default '';
alter table users add column status text not null default 'active'
  constraint users_status_check check (status in ('active', 'disabled'));
alter table users add column version integer not null default 1;
alter table users add column seq bigint generated always as identity;

create unique index users_in_order on users (seq);
-- For the question whether an administrator would be left.
create index users_administrators on users (id) where role = 'admin' and status = 'active';

-- migration 4: the lab's operator
-- Password: operator-password (argon2id, 2 passes, 19 MiB).
insert into users (id, email, name, role, password_hash) values
  ('00000000-0000-4000-8000-000000000003',
   'operator@orrery.test', 'Lab Operator', 'operator',
   '$argon2id$v=19$m=19456,t=2,p=1$8fBr0mAwjaGiE7TMvOVYzw$vmGU5nYfG/OcMaaQXb78VEvoUfTErM/imjU97WRbJAU');

-- migration 5: leases of jobs
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
