//! Why does the validator refuse?

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use casemate_api::problem::Problem;

use crate::lifecycle::IllegalTransition;

/// Everything that can go wrong in the validator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No VM has this id or name.
    #[error("no VM is called `{asked}`; `casemate ps` lists them")]
    VmNotFound {
        /// The id or name asked for.
        asked: String,
    },
    /// Another VM holds the name.
    #[error("the name `{name}` is taken by VM {holder}; remove that VM or choose another name")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// Id of the VM that holds it.
        holder: String,
    },
    /// A body is not the JSON that the call takes.
    #[error("the body is not what this call takes: {0}; /openapi.json describes it")]
    Body(#[from] axum::extract::rejection::JsonRejection),
    /// A body is longer than the call takes.
    #[error("found more than the {limit_bytes} bytes that this call takes; send less")]
    TooLong {
        /// The most.
        limit_bytes: usize,
    },
    /// A body did not come whole.
    #[error("the body did not come whole: {0}; send it again")]
    Unread(#[source] axum::extract::rejection::BytesRejection),
    /// What follows the question mark is not what the call takes.
    #[error("the query is not what this call takes: {0}; /openapi.json describes it")]
    Query(#[from] axum::extract::rejection::QueryRejection),
    /// Nothing is called like this.
    #[error("there is no such call; /openapi.json lists those that there are")]
    NoSuchCall,
    /// The call is there, and takes another method.
    #[error("this call takes another method; /openapi.json says which")]
    Method,
    /// A VM's specification has a field out of range.
    #[error("`{field}` is {found}, expected {expected}")]
    Specification {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The step does not follow from where the VM stands.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
    /// The guest cannot be asked, for it does not run.
    #[error("VM {id} is {state}, expected running or starting; start it first")]
    NotRunning {
        /// Id of the VM.
        id: String,
        /// Where it stands.
        state: String,
    },
    /// A host or seat does not answer.
    #[error("{whom} at {address} does not answer")]
    Unreachable {
        /// `host` or `seat`.
        whom: &'static str,
        /// Where it was dialled.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A host or seat answers, and refuses.
    #[error("{whom} refuses: {problem}")]
    Refused {
        /// `host` or `seat`.
        whom: &'static str,
        /// HTTP status.
        status: u16,
        /// What it said.
        problem: Problem,
    },
    /// A host or seat answers what is no answer to the question.
    #[error("{whom} answers with something else than {expected}; do versions match?")]
    Unexpected {
        /// `host` or `seat`.
        whom: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// An address is neither `unix:PATH` nor `http://HOST:PORT`.
    #[error("`{found}` is no address; expected unix:PATH or http://HOST:PORT")]
    Address {
        /// What was given.
        found: String,
    },
    /// The caller did not show the token of this validator.
    #[error("the request carries no valid token; send `authorization: Bearer TOKEN`")]
    Unauthorised,
    /// The disk below the database is full.
    #[error(
        "the validator's disk has no room for what was asked, and nothing of it was done; make room and ask again"
    )]
    DiskFull(#[source] sqlx::Error),
    /// The database refuses.
    #[error("the validator's database cannot be used")]
    Database(#[source] sqlx::Error),
    /// The database's tables cannot be brought up to date.
    #[error("the validator's database cannot be migrated")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A value in the database is none that this version writes.
    #[error("column {column} holds a value that this version does not write; was it written by a newer one?")]
    Corrupt {
        /// Table and column.
        column: &'static str,
    },
    /// The machine refuses a file or socket.
    #[error("{what} cannot be used")]
    Io {
        /// The file or socket.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code.and_then(|code| code.parse::<u32>().ok()) {
            Some(SQLITE_FULL | SQLITE_IOERR_SHMSIZE | SQLITE_IOERR_SHMOPEN) => Error::DiskFull(error),
            _ => Error::Database(error),
        }
    }
}

/// sqlite.org/rescode.html. The other two come of the shared memory of a write-ahead log that has just been opened.
const SQLITE_FULL: u32 = 13;
const SQLITE_IOERR_SHMOPEN: u32 = 4618;
const SQLITE_IOERR_SHMSIZE: u32 = 4874;

impl Error {
    /// Whether it is this validator's own database that failed, and neither host nor seat.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Error::DiskFull(_) | Error::Database(_) | Error::Corrupt { .. })
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Error::VmNotFound { .. } => (StatusCode::NOT_FOUND, "vm_not_found"),
            Error::NameTaken { .. } => (StatusCode::CONFLICT, "name_taken"),
            Error::Body(_) => (StatusCode::UNPROCESSABLE_ENTITY, "body"),
            Error::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Error::Unread(_) => (StatusCode::BAD_REQUEST, "body"),
            Error::Query(_) => (StatusCode::UNPROCESSABLE_ENTITY, "query"),
            Error::NoSuchCall => (StatusCode::NOT_FOUND, "no_such_call"),
            Error::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Error::Specification { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "specification"),
            Error::IllegalTransition(_) => (StatusCode::CONFLICT, "illegal_transition"),
            Error::NotRunning { .. } => (StatusCode::CONFLICT, "not_running"),
            Error::Unreachable { .. } => (StatusCode::BAD_GATEWAY, "unreachable"),
            Error::Refused { .. } => (StatusCode::BAD_GATEWAY, "refused"),
            Error::Unexpected { .. } => (StatusCode::BAD_GATEWAY, "unexpected_answer"),
            Error::Address { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "address"),
            Error::Unauthorised => (StatusCode::UNAUTHORIZED, "unauthorised"),
            Error::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            Error::Database(_) | Error::Migration(_) | Error::Corrupt { .. } | Error::Io { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }
}

/// What is told of an error: what another service said is passed on as it said it, so that its code and
/// hint survive.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.status_and_code().1.to_owned();
        match error {
            Error::Refused { problem, .. } => problem,
            other => Problem { code, message: other.to_string(), hint: None },
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Error::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY),
            other => other.status_and_code().0,
        };
        if status.is_server_error() && !matches!(self, Error::Refused { .. }) {
            tracing::warn!(error = %self, source = ?std::error::Error::source(&self), "request failed");
        }
        (status, Json(Problem::from(self))).into_response()
    }
}
