-- One login role per service of the oms lab: it may use its own schema and nothing else.
-- Run by psql as the owner of the database, as often as one likes; the passwords are psql
-- variables: orders, inventory, payments, users, notifications, acquirer.
-- Schemas, tables and the grants on them belong to `orrery migrate oms`.
\set ON_ERROR_STOP on
\set QUIET on
set client_min_messages = warning;

select format('create role %I', name)
  from unnest(array['oms_orders', 'oms_inventory', 'oms_payments', 'oms_users',
                    'oms_notifications', 'oms_acquirer']) as name
 where not exists (select from pg_roles where rolname = name)
\gexec

alter role oms_orders        with login nosuperuser nocreatedb nocreaterole nobypassrls password :'orders';
alter role oms_inventory     with login nosuperuser nocreatedb nocreaterole nobypassrls password :'inventory';
alter role oms_payments      with login nosuperuser nocreatedb nocreaterole nobypassrls password :'payments';
alter role oms_users         with login nosuperuser nocreatedb nocreaterole nobypassrls password :'users';
alter role oms_notifications with login nosuperuser nocreatedb nocreaterole nobypassrls password :'notifications';
alter role oms_acquirer      with login nosuperuser nocreatedb nocreaterole nobypassrls password :'acquirer';

alter role oms_orders        set search_path = orders;
alter role oms_inventory     set search_path = inventory;
alter role oms_payments      set search_path = payments;
alter role oms_users         set search_path = users;
alter role oms_notifications set search_path = notifications;
alter role oms_acquirer      set search_path = acquirer;

select format('create database oms encoding %L template template0', 'UTF8')
 where not exists (select from pg_database where datname = 'oms')
\gexec

revoke all on database oms from public;
revoke all on database postgres from public;
grant connect on database oms to oms_orders, oms_inventory, oms_payments, oms_users,
                                 oms_notifications, oms_acquirer;
