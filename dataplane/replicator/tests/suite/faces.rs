//! Who may do what on the faces of host and receiver, and how enrolment protects them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Connection;
use crate::stage::{Host, MIGRATION, Management, Shadow, proof, wait};

#[test]
fn before_enrolment_only_enrolment_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let host = Host::start(folder.path());
    let mut connection = Connection::open(host.address, None).unwrap();
    let status = connection.request("GET", "/v1/agent", &Value::Null).unwrap().ok();
    assert_eq!((&status["role"], &status["enrolled"]), (&json!("host"), &json!(false)));
    let refused = connection.request("GET", "/v1/vms", &Value::Null).unwrap();
    assert_eq!((refused.status, refused.code()), (409, "NOT_ENROLLED"));
    for body in [json!({}), json!({ "proof": "d3Jvbmc=" })] {
        let refused = connection.request("POST", "/v1/enrol/begin", &body).unwrap();
        assert_eq!((refused.status, refused.code()), (401, "ENROL_PROOF_WRONG"));
    }
    let early = json!({ "certificatePem": "", "authorityPem": management.authority.pem });
    let refused = connection.request("POST", "/v1/enrol/complete", &early).unwrap();
    assert_eq!(refused.code(), "ENROL_NOT_BEGUN");
}

#[test]
fn a_proof_is_worth_nothing_on_another_connection() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path());
    let first = Connection::open(host.address, None).unwrap();
    let stolen = json!({ "proof": proof(&first, "server") });
    let mut second = Connection::open(host.address, None).unwrap();
    let refused = second.request("POST", "/v1/enrol/begin", &stolen).unwrap();
    assert_eq!(refused.code(), "ENROL_PROOF_WRONG");
}

#[test]
fn a_certificate_with_another_name_or_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let host = Host::start(folder.path());
    let mut connection = Connection::open(host.address, None).unwrap();
    let other = management.authority.identity("host/somebody").certificate_pem;
    let mut try_with = |name: &str, certificate: Option<&str>| {
        let begin = json!({ "proof": proof(&connection, "server") });
        let begun = connection.request("POST", "/v1/enrol/begin", &begin).unwrap().ok();
        let signed = management.authority.sign(begun["csrPem"].as_str().unwrap(), name);
        let certificate = certificate.unwrap_or(&signed);
        let body =
            json!({ "certificatePem": certificate, "authorityPem": management.authority.pem });
        connection.request("POST", "/v1/enrol/complete", &body).unwrap()
    };
    for (name, certificate) in [("host/somebody", None), ("server", None), ("x", Some(&*other))] {
        let refused = try_with(name, certificate);
        assert_eq!((refused.status, refused.code()), (422, "CERTIFICATE_WRONG"), "{name}");
    }
}

#[test]
fn an_enrolled_port_answers_only_the_management_server() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let mut host = Host::start(folder.path());
    management.enrol(host.address, "host", None);
    for _ in 0..2 {
        let stranger = Management::new();
        let tried = stranger.try_ask(host.address, "GET", "/v1/agent", &Value::Null);
        assert!(tried.is_err(), "a certificate of another authority: {tried:?}");
        let nobody = Connection::open(host.address, None)
            .and_then(|mut connection| connection.request("GET", "/v1/agent", &Value::Null));
        assert!(nobody.is_err(), "no certificate: {nobody:?}");
        let vms = management.ask(host.address, "GET", "/v1/vms", Value::Null);
        assert_eq!(vms.ok(), json!([]));
        let source = management.authority.identity("source/vmm_test");
        let mut connection = Connection::open(host.address, Some(&source)).unwrap();
        let refused = connection.request("GET", "/v1/vms", &Value::Null).unwrap();
        assert_eq!((refused.status, refused.code()), (403, "FORBIDDEN"));
        host.daemon.restart();
        wait("the daemon is back", || {
            management.try_ask(host.address, "GET", "/v1/agent", &Value::Null).is_ok()
        });
    }
}

#[test]
fn a_used_secret_is_void_and_a_certificate_can_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let shadow = Shadow::start(folder.path(), &management.authority);
    management.enrol(shadow.address, "receiver", Some(MIGRATION));
    let mut connection = Connection::open(shadow.address, Some(&management.identity)).unwrap();
    let begun = connection.request("POST", "/v1/enrol/begin", &json!({})).unwrap().ok();
    assert_eq!(begun.get("proof"), None);
    let signed = management
        .authority
        .sign(begun["csrPem"].as_str().unwrap(), &format!("receiver/{MIGRATION}"));
    let body = json!({ "certificatePem": signed, "authorityPem": management.authority.pem });
    connection.request("POST", "/v1/enrol/complete", &body).unwrap().ok();
    let status = management.ask(shadow.address, "GET", "/v1/receiver", Value::Null).ok();
    assert_eq!(status["vmMigrationId"], MIGRATION);
    assert_eq!(status["ownership"], json!({ "state": "none", "token": 0 }));
}

#[test]
fn an_agent_whose_certificate_has_ended_still_answers_so_that_it_can_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let mut host = Host::start(folder.path());
    management.enrol_for(host.address, "host", None, Duration::from_secs(2));
    std::thread::sleep(Duration::from_secs(3));
    host.daemon.restart();
    let mut status = Value::Null;
    wait("the daemon is back", || {
        let asked = management.try_ask(host.address, "GET", "/v1/agent", &Value::Null);
        asked.is_ok_and(|answer| {
            status = answer.ok();
            true
        })
    });
    let id = status["agentId"].as_str().unwrap();
    let mut connection = Connection::open(host.address, Some(&management.identity)).unwrap();
    let begun = connection.request("POST", "/v1/enrol/begin", &json!({})).unwrap().ok();
    let csr = begun["csrPem"].as_str().unwrap();
    let signed = management.authority.sign(csr, &format!("host/{id}"));
    let body = json!({ "certificatePem": signed, "authorityPem": management.authority.pem });
    let renewed = connection.request("POST", "/v1/enrol/complete", &body).unwrap().ok();
    assert_ne!(renewed["notAfter"], status["notAfter"]);
}

#[test]
fn what_is_missing_or_malformed_is_said_in_a_problem_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let host = Host::start(folder.path());
    management.enrol(host.address, "host", None);
    let job = json!({ "kind": "replicate" });
    for (method, path, body, status, code) in [
        ("GET", "/v1/nothing", Value::Null, 404, "NOT_FOUND"),
        ("PATCH", "/v1/vms", Value::Null, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/attach", json!({}), 404, "NOT_FOUND"),
        ("GET", "/v1/jobs/vmm_unknown", Value::Null, 404, "UNKNOWN_JOB"),
        ("GET", "/v1/jobs/..%2F..", Value::Null, 400, "BAD_REQUEST"),
        ("PUT", "/v1/jobs/vmm_a", job, 400, "BAD_REQUEST"),
    ] {
        let answer = management.ask(host.address, method, path, body);
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert!(!answer.body["remedy"].as_str().unwrap().is_empty());
    }
}

#[test]
fn every_documented_route_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let host = Host::start(&folder.path().join("host"));
    let shadow = Shadow::start(&folder.path().join("shadow"), &management.authority);
    management.enrol(host.address, "host", None);
    management.enrol(shadow.address, "receiver", Some(MIGRATION));
    for (method, path) in landfall_api::document::ROUTES {
        let method = method.to_uppercase();
        let asked = path.replace("{jobId}", "vmm_unknown");
        let answer = match *path {
            "/v1/snapshot/pause"
            | "/v1/snapshot/resume"
            | "/v1/attach"
            | "/v1/detach"
            | "/v1/closed"
            | "/v1/attachments" => host.ask(&method, &asked, Value::Null).unwrap(),
            "/v1/receiver" | "/v1/receiver/disks" => {
                management.ask(shadow.address, &method, &asked, Value::Null)
            }
            _ => management.ask(host.address, &method, &asked, Value::Null),
        };
        assert!(
            !["NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&answer.code()),
            "{method} {path}: {answer:?}"
        );
    }
}
