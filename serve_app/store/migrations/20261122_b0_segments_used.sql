-- SMS segments that owners used, by month
-- depends: 20261122_40_business

-- migrate: apply
ALTER TABLE usage ADD COLUMN sms_segments bigint NOT NULL DEFAULT 0;

-- migrate: rollback
ALTER TABLE usage DROP COLUMN sms_segments;
