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
