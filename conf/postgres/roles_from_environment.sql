-- roles.sql with the passwords from the environment of psql, for containers: arguments could be
-- read by everybody.
\set ON_ERROR_STOP on
\getenv orders PASSWORD_ORDERS
\getenv inventory PASSWORD_INVENTORY
\getenv payments PASSWORD_PAYMENTS
\getenv users PASSWORD_USERS
\getenv notifications PASSWORD_NOTIFICATIONS
\getenv acquirer PASSWORD_ACQUIRER
\ir roles.sql
