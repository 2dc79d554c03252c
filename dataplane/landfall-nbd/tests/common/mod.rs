//! A client that speaks the protocol byte by byte, so that tests can say what no library would.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISCONNECT: u16 = 2;
pub const FLUSH: u16 = 3;
pub const CACHE: u16 = 5;
pub const BLOCK_STATUS: u16 = 7;
pub const RESIZE: u16 = 8;
pub const DF: u16 = 4;

/// A connection that was greeted.
pub struct Client {
    pub stream: UnixStream,
    pub flags: u16,
}

/// One chunk of a structured reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub done: bool,
    pub kind: u16,
    pub cookie: u64,
    pub content: Vec<u8>,
}

impl Client {
    pub fn greet(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        assert_eq!(greeting[16..], [0, 3], "fixed newstyle, no zeroes");
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        Self { stream, flags: 0 }
    }

    /// Ready for requests with simple replies.
    pub fn simple(socket: &Path) -> Self {
        let mut client = Self::greet(socket);
        client.option(1, &[]);
        let answer: [u8; 10] = client.array();
        client.flags = u16::from_be_bytes([answer[8], answer[9]]);
        client
    }

    /// Ready for requests with structured replies and `base:allocation`.
    pub fn structured(socket: &Path) -> Self {
        let mut client = Self::greet(socket);
        assert_eq!(client.ask(8, &[]), [(1, vec![])]);
        let mut context = 0u32.to_be_bytes().to_vec();
        context.extend(1u32.to_be_bytes());
        context.extend(15u32.to_be_bytes());
        context.extend(b"base:allocation");
        let answer = client.ask(10, &context);
        assert_eq!(answer[0], (4, [&1u32.to_be_bytes()[..], b"base:allocation"].concat()));
        let answer = client.ask(7, &[0; 6]);
        assert_eq!(answer.last().unwrap().0, 1);
        client.flags = u16::from_be_bytes(answer[0].1[10..12].try_into().unwrap());
        client
    }

    pub fn option(&mut self, option: u32, data: &[u8]) {
        let mut message = b"IHAVEOPT".to_vec();
        message.extend(option.to_be_bytes());
        message.extend((data.len() as u32).to_be_bytes());
        message.extend(data);
        self.stream.write_all(&message).unwrap();
    }

    /// Sends an option and reads its replies: type and content, up to the last.
    pub fn ask(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.option(option, data);
        let mut replies = Vec::new();
        loop {
            let header: [u8; 20] = self.array();
            let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            assert_eq!(header[..8], 0x0003_E889_0455_65A9_u64.to_be_bytes());
            assert_eq!(word(8), option);
            let mut content = vec![0; word(16) as usize];
            self.stream.read_exact(&mut content).unwrap();
            replies.push((word(12), content));
            if word(12) == 1 || word(12) >= 1 << 31 {
                return replies;
            }
        }
    }

    pub fn send(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, len: u32) {
        let mut header = 0x2560_9513_u32.to_be_bytes().to_vec();
        header.extend(flags.to_be_bytes());
        header.extend(command.to_be_bytes());
        header.extend(cookie.to_be_bytes());
        header.extend(offset.to_be_bytes());
        header.extend(len.to_be_bytes());
        self.stream.write_all(&header).unwrap();
    }

    pub fn write(&mut self, cookie: u64, offset: u64, data: &[u8]) {
        self.send(WRITE, 0, cookie, offset, data.len() as u32);
        self.stream.write_all(data).unwrap();
    }

    /// Error and cookie of the next simple reply.
    pub fn reply(&mut self) -> (u32, u64) {
        let header: [u8; 16] = self.array();
        assert_eq!(header[..4], 0x6744_6698_u32.to_be_bytes());
        let errno = u32::from_be_bytes(header[4..8].try_into().unwrap());
        (errno, u64::from_be_bytes(header[8..].try_into().unwrap()))
    }

    /// The next chunk of a structured reply.
    pub fn chunk(&mut self) -> Chunk {
        let header: [u8; 20] = self.array();
        assert_eq!(header[..4], 0x668E_33EF_u32.to_be_bytes());
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let len = u32::from_be_bytes(header[16..].try_into().unwrap());
        let mut content = vec![0; len as usize];
        self.stream.read_exact(&mut content).unwrap();
        let cookie = u64::from_be_bytes(header[8..16].try_into().unwrap());
        Chunk { done: half(4) == 1, kind: half(6), cookie, content }
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        self.stream.read_exact(&mut array).unwrap();
        array
    }

    /// Whether the server has hung up.
    pub fn hung_up(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
