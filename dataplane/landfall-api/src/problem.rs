//! Problem documents (RFC 9457): every refusal has a stable code, a remedy and a retry class.
//! A detail is safe to show: no secrets, no key material.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// It can, later.
    Retryable,
    /// It cannot.
    Permanent,
    /// It can, after a person did something.
    NeedsOperator,
}

macro_rules! codes {
    ($($name:ident $text:tt $status:literal $retry:ident $title:literal $remedy:literal;)*) => {
        /// Stable codes of everything the replicator refuses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it stands in documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
            /// HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
            /// Retry class.
            pub fn retry(self) -> Retry {
                match self { $(Code::$name => Retry::$retry,)* }
            }
            /// One line for people.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    BadRequest "BAD_REQUEST" 400 Permanent "The request is malformed"
        "Compare the request with the OpenAPI document of this version.";
    EnrolProofWrong "ENROL_PROOF_WRONG" 401 Permanent "The enrolment proof is wrong"
        "Issue a new enrolment secret and give it to both sides.";
    Forbidden "FORBIDDEN" 403 Permanent "The peer may not do this"
        "Use the certificate the installation issued for this purpose.";
    NotFound "NOT_FOUND" 404 Permanent "There is no such route"
        "Compare the path with the OpenAPI document of this version.";
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 Permanent "The route does not take this method"
        "Compare the method with the OpenAPI document of this version.";
    UnknownJob "UNKNOWN_JOB" 404 Permanent "The job is not known here"
        "Put the job again; it goes on where it was.";
    UnknownVm "UNKNOWN_VM" 404 Retryable "No disk of this VM is attached"
        "Apply the storage policy to the VM's disks, then ask again.";
    UnknownDisk "UNKNOWN_DISK" 404 Retryable "The disk is not attached"
        "Apply the storage policy to the disk, then ask again.";
    DiskSealed "DISK_SEALED" 409 NeedsOperator "The disk was handed over to the destination"
        "Use the VM at the destination, or detach the storage policy from the source VM to keep the source as it was at hand-over.";
    DiskChanged "DISK_CHANGED" 409 NeedsOperator "The disk is not the one that was attached"
        "Detach the storage policy, attach it again and start the migration anew.";
    DiskBusy "DISK_BUSY" 409 Retryable "Another process or host serves the disk"
        "Wait until the VM's disk is closed where it was, then ask again.";
    DiskMissing "DISK_MISSING" 409 Retryable "A destination disk is not there"
        "Attach the disk to the shadow VM, then ask again.";
    VmBusy "VM_BUSY" 409 Permanent "Another job holds the VM"
        "End the other job first.";
    StaleGeneration "STALE_GENERATION" 409 Permanent "A newer holder commands the job"
        "Stop: another worker has taken the job over.";
    StaleToken "STALE_TOKEN" 409 Permanent "A newer hand-over token is known"
        "Begin the hand-over again with a newer token.";
    NotClosed "NOT_CLOSED" 409 Retryable "The VM still has its disks open"
        "Shut the source VM down and wait until it is powered off.";
    NotReady "NOT_READY" 409 Retryable "The job cannot do this yet"
        "Wait until the job's status says ready.";
    NotFrozen "NOT_FROZEN" 409 Retryable "The job is not frozen with equal roots"
        "Freeze it first and wait until its roots are equal.";
    SidesDiffer "SIDES_DIFFER" 409 NeedsOperator "The two sides do not hold the same"
        "While the replication runs with scrub, what differs is sent again: verify once more. Else look at the health of both disks.";
    HandedOff "HANDED_OFF" 409 Permanent "The disks were handed over already"
        "Go on with the destination; the source cannot be unfrozen any more.";
    NotEnrolled "NOT_ENROLLED" 409 Retryable "The agent is not enrolled yet"
        "Enrol the agent, then ask again.";
    EnrolNotBegun "ENROL_NOT_BEGUN" 409 Retryable "The enrolment was not begun on this connection"
        "Send begin and complete over one connection.";
    EnrolSecretMissing "ENROL_SECRET_MISSING" 409 Retryable "No enrolment secret is set"
        "Set the advanced option Landfall.EnrolSecret of the host, then ask again.";
    CertificateWrong "CERTIFICATE_WRONG" 422 Permanent "The certificate does not fit"
        "Sign the request that was given out, with the name this agent must have.";
    UnsupportedKind "UNSUPPORTED_KIND" 422 Permanent "This version does not do this kind of job"
        "Use a kind this version supports.";
    StorageFailed "STORAGE_FAILED" 500 NeedsOperator "Reading or writing a disk or a state file failed"
        "Look at the datastore's health and free space, then retry.";
    Internal "INTERNAL" 500 Retryable "Something unexpected went wrong"
        "Ask again; if it stays, look at the replicator's log.";
    SourceUnavailable "SOURCE_UNAVAILABLE" 503 Retryable "The VM's source process is not answering"
        "Wait: it is being started again.";
    TimedOut "TIMED_OUT" 504 Retryable "It took too long"
        "Ask again; commands may be repeated.";
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Body of every refusal, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// URI of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Stable code.
    pub code: Code,
    /// What to do about it.
    pub remedy: String,
    /// Whether asking again can help.
    pub retry: Retry,
}

impl Problem {
    /// A problem with the texts of its code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!(
                "urn:landfall:problem:{}",
                code.as_str().to_lowercase().replace('_', "-")
            ),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            remedy: code.remedy().to_owned(),
            retry: code.retry(),
        }
    }

    /// The request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// A state file or disk failed.
    pub fn storage(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Code::StorageFailed, format!("{what}: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} ({})", self.code, self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy_and_an_error_status() {
        for code in Code::ALL {
            assert!(code.remedy().ends_with('.'), "{code}");
            assert!((400..600).contains(&code.status()), "{code}");
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
