-- The role of postgres_exporter: statistics, and no table of anybody. Run by psql as the owner of
-- the database, as often as one likes; the password comes from psql's environment.
\set ON_ERROR_STOP on
\set QUIET on
\getenv watch PASSWORD_WATCH
set client_min_messages = warning;

select 'create role watch' where not exists (select from pg_roles where rolname = 'watch')
\gexec

alter role watch with login nosuperuser nocreatedb nocreaterole nobypassrls connection limit 5 password :'watch';
grant pg_monitor to watch;
grant connect on database oms, postgres to watch;
