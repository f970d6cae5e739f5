-- VMs, what is still to be done to them, and what happened.

CREATE TABLE vms (
    id            TEXT PRIMARY KEY,           -- 16 hexadecimal digits, never used again
    name          TEXT NOT NULL,
    spec          TEXT NOT NULL,              -- casemate_api::validator::VmSpec as JSON
    state         TEXT NOT NULL,              -- lifecycle.rs
    phase         TEXT,                       -- last phase that the guest reported
    failure       TEXT,                       -- casemate_api::validator::Failure as JSON
    ports         TEXT,                       -- list of casemate_api::validator::Port as JSON, once the host chose
    created_ms    BIGINT NOT NULL,
    changed_ms    BIGINT NOT NULL
);

-- A name is taken while its VM is not removed.
CREATE UNIQUE INDEX vms_name ON vms (name) WHERE state <> 'removed';

-- A job stays until what it asks is done; each step of it may be repeated.
CREATE TABLE jobs (
    vm            TEXT NOT NULL REFERENCES vms (id),
    verb          TEXT NOT NULL,              -- start, stop, remove
    disks         BIGINT NOT NULL DEFAULT 0,  -- remove: 1 if the disks go too
    attempts      BIGINT NOT NULL DEFAULT 0,
    created_ms    BIGINT NOT NULL,
    PRIMARY KEY (vm)
);

CREATE TABLE events (
    number        INTEGER PRIMARY KEY,
    vm            TEXT NOT NULL REFERENCES vms (id),
    at_ms         BIGINT NOT NULL,
    kind          TEXT NOT NULL,              -- state, or phase
    value         TEXT NOT NULL,
    detail        TEXT
);

CREATE INDEX events_vm ON events (vm, number);
