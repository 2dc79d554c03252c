//! New keys in the middle of a connection (TLS KeyUpdate): between two of ours, and with rustls
//! as an independent peer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use landfall_wire::{HEADER_LEN, Header, kind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::RECORDS_PER_KEY_MAX;
use crate::link::{Frame, Link, LinkReader};
use crate::tls::Secured;

/// Configurations of both sides; nobody asks who the client is.
fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Two ends of ours.
fn both() -> (Secured, Secured) {
    let (client, server) = configs();
    // Tickets would have numbers of their own in what the tests count.
    let mut server = ServerConfig::clone(&server);
    server.send_tls13_tickets = 0;
    let server = Arc::new(server);
    let (near, far) = sockets();
    let accepting = std::thread::spawn(move || Secured::accept(far, &server).unwrap());
    let near = Secured::connect(near, &client, name()).unwrap();
    (near, accepting.join().unwrap())
}

fn content(number: u64) -> Vec<u8> {
    (0..40_000 + number).map(|at| (at * 7 + number) as u8).collect()
}

fn send(link: &Link, number: u64) {
    link.send(&[Frame::new(kind::PING, 9, &content(number))], |_| {}).unwrap();
}

fn expect(reader: &mut LinkReader, number: u64) {
    let mut payload = Vec::new();
    let header = reader.read(&mut payload).unwrap();
    assert_eq!((header.kind, header.epoch), (kind::PING, 9));
    assert!(payload == content(number), "frame {number} is another");
}

#[test]
fn at_the_limit_of_records_both_directions_take_a_new_key_and_data_flows_on() {
    let (mut near, mut far) = both();
    let late = RECORDS_PER_KEY_MAX - 4;
    for side in [&mut near, &mut far] {
        side.sealer.key.seq = late;
        side.opener.key.seq = late;
    }
    let (near, mut near_reader) = Link::new(near).unwrap();
    let (far, mut far_reader) = Link::new(far).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..8).for_each(|number| send(&near, number)));
        scope.spawn(|| (0..8).for_each(|number| send(&far, number)));
        scope.spawn(|| (0..8).for_each(|number| expect(&mut near_reader, number)));
        (0..8).for_each(|number| expect(&mut far_reader, number));
    });
    for reader in [&near_reader, &far_reader] {
        assert!(reader.opener.key.seq < 100, "the key of before is still used");
    }
}

/// The same frames by rustls alone.
fn frame(number: u64) -> Vec<u8> {
    let payload = content(number);
    let len = payload.len() as u32;
    let header = Header { kind: kind::PING, epoch: 9, seq: number + 1, len, ..Header::default() };
    [header.encode().as_slice(), &payload].concat()
}

/// rustls takes a new key before each frame and asks for one of ours, while we send too.
#[test]
fn a_peer_that_changes_keys_and_asks_for_ours_while_data_flows_both_ways_is_understood() {
    const FRAMES: u64 = 12;
    let (client, server) = configs();
    let (near, far) = sockets();
    let peer = std::thread::spawn(move || {
        let mut tls = ClientConnection::new(client, name()).unwrap();
        let mut socket = near;
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        for number in 0..FRAMES {
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.write_all(&frame(number)).unwrap();
            let mut came = vec![0; HEADER_LEN + content(number).len()];
            stream.read_exact(&mut came).unwrap();
            assert!(came[HEADER_LEN..] == content(number), "frame {number} came as another");
            tls.refresh_traffic_keys().unwrap();
        }
    });
    let secured = Secured::accept(far, &server).unwrap();
    let asked = secured.sealer.shared.asked.clone();
    let (link, mut reader) = Link::new(secured).unwrap();
    for number in 0..FRAMES {
        expect(&mut reader, number);
        let was_asked = asked.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(was_asked, number > 0, "frame {number}");
        send(&link, number);
        assert!(!asked.load(std::sync::atomic::Ordering::SeqCst), "the answer is a key of ours");
    }
    peer.join().unwrap();
}

/// What only looks like a new key ends the connection.
#[test]
fn a_new_key_with_something_behind_it_or_of_another_form_is_refused() {
    for message in [&[24, 0, 0, 1, 0, 4][..], &[24, 0, 0, 1, 2], &[24, 0, 0, 2, 0, 0], &[24, 0]] {
        let (mut near, far) = both();
        let mut out = super::Outgoing::new(1);
        near.sealer.record(&mut out, super::HANDSHAKE, message).unwrap();
        near.socket.write_all(out.bytes()).unwrap();
        let (_link, mut reader) = Link::new(far).unwrap();
        let error = reader.read(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{message:?}");
    }
}

/// A record of which one bit was turned on its way is noticed and never used.
#[test]
fn a_turned_bit_anywhere_in_a_record_ends_the_connection() {
    for at in [0, 1, 3, 4, 5, 100, 40_000] {
        let (mut near, far) = both();
        let mut out = super::Outgoing::new(4);
        for piece in frame(0).chunks(super::RECORD_LEN_MAX) {
            near.sealer.seal(&mut out, piece).unwrap();
        }
        let mut bytes = out.bytes().to_vec();
        bytes[at] ^= 1;
        near.socket.write_all(&bytes).unwrap();
        near.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let (_link, mut reader) = Link::new(far).unwrap();
        let error = reader.read(&mut Vec::new()).unwrap_err();
        let kind = error.kind();
        // A longer length waits for more, which never comes.
        let fits =
            matches!(kind, std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof);
        assert!(fits, "byte {at}: {error}");
    }
}
