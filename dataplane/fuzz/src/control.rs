//! Bodies of the control API. Whatever is accepted must come out again as it went in, and the
//! checks of a job must hold for any of them.

use landfall_api::{
    AttachRequest, ClosedRequest, DetachRequest, Dials, DialsBody, EnrolBegin, EnrolComplete,
    GenerationBody, JobCertificate, JobSpec, JobStatus, PrepareDisks, Problem, ReceiverConfig,
    ReceiverStatus, TokenBody,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let second: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(text, serde_json::to_vec(&second).expect("once more"));
    Some(value)
}

/// The input as every body there is.
pub fn bodies(data: &[u8]) {
    if let Some(spec) = again::<JobSpec>(data)
        && spec.check().is_ok()
    {
        assert!(spec.dials.check().is_ok());
        assert!(!spec.disks.is_empty());
    }
    if let Some(dials) = again::<Dials>(data)
        && dials.check().is_ok()
    {
        assert!(dials.replication_rate <= 100 && dials.write_throttling <= 100);
    }
    again::<DialsBody>(data);
    again::<GenerationBody>(data);
    again::<TokenBody>(data);
    again::<JobCertificate>(data);
    again::<JobStatus>(data);
    again::<AttachRequest>(data);
    again::<DetachRequest>(data);
    again::<ClosedRequest>(data);
    again::<PrepareDisks>(data);
    again::<ReceiverConfig>(data);
    again::<ReceiverStatus>(data);
    again::<EnrolBegin>(data);
    again::<EnrolComplete>(data);
    again::<Problem>(data);
}
