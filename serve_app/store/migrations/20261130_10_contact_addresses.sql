-- Contacts are looked up by their address: at every opt-out, and for commands
-- depends: 20261122_31_last_look

-- migrate: apply
CREATE INDEX contacts_address ON contacts (address);

-- migrate: rollback
DROP INDEX contacts_address;
