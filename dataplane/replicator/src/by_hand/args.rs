//! Arguments of the commands that people give by hand, with examples.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use landfall_io::Codec;

/// A number of bytes with an optional binary suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// Reads `512`, `64K`, `20M`, `8G`, `2T`.
pub fn parse_byte_size(text: &str) -> Result<ByteSize, String> {
    let shift = match text.bytes().last() {
        Some(b'K' | b'k') => 10,
        Some(b'M' | b'm') => 20,
        Some(b'G' | b'g') => 30,
        Some(b'T' | b't') => 40,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .map(ByteSize)
        .ok_or_else(|| "a number of bytes, such as 1073741824, 512M or 8G (binary)".to_owned())
}

/// Reads an address with port; names cannot be resolved by a static program.
pub fn numeric_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "a numeric address with a port, such as 192.0.2.7:32875 or [2001:db8::7]:32875; \
         names are not resolved"
            .to_owned()
    })
}

/// Reads an address for metrics: nobody but this host reaches it unless it is said.
pub fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => numeric_address(text),
    }
}

/// A disk and where its NBD socket shall be, if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// The raw image or block device.
    pub path: PathBuf,
    /// Its socket.
    pub socket: Option<PathBuf>,
}

/// Reads `FILE` or `FILE:SOCKET`. A file whose own name has a colon wins.
pub fn parse_disk(text: &str) -> Result<DiskArg, String> {
    match text.rsplit_once(':') {
        Some((path, socket))
            if !path.is_empty() && !socket.is_empty() && !PathBuf::from(text).exists() =>
        {
            Ok(DiskArg { path: path.into(), socket: Some(socket.into()) })
        }
        _ => Ok(DiskArg { path: text.into(), socket: None }),
    }
}

/// `replicator source`
#[derive(Args)]
#[command(after_help = "Examples:
  # The receiver made site.pair; it was copied here. The guest uses the socket from now on.
  replicator source --disk /var/lib/vm/app.raw --socket /run/app.nbd \\
      --receiver 192.0.2.7:32875 --pair site.pair --state /var/lib/landfall-app
  qemu-system-x86_64 ... -drive file=nbd+unix:///?socket=/run/app.nbd,format=raw,if=virtio

  # Two disks, at most 50 MiB/s on the line
  replicator source --disk app.raw:/run/app.nbd --disk data.raw:/run/data.nbd \\
      --receiver 192.0.2.7:32875 --pair site.pair --state /var/lib/landfall-app \\
      --bytes-per-second-max 50M

Ended or killed, it goes on where it was when it is started with the same --state.
See docs/by-hand.md.")]
pub struct SourceArgs {
    /// Raw image or block device, and the unix socket where it is served by NBD. Repeatable;
    /// the order is that of the receiver
    #[arg(long, required = true, value_name = "FILE[:SOCKET]", value_parser = parse_disk)]
    pub disk: Vec<DiskArg>,
    /// The receiver's address; numeric
    #[arg(long, value_name = "IP:PORT", value_parser = numeric_address)]
    pub receiver: SocketAddr,
    /// The file the receiver made, copied to this host
    #[arg(long, value_name = "FILE")]
    pub pair: PathBuf,
    /// Folder that outlives the process
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// NBD socket of a single disk; by default the sockets lie in the state folder
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Socket for `replicator ctl`; by default control.sock in the state folder
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Serve Prometheus metrics over HTTP; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "[IP:]PORT", value_parser = metrics_address)]
    pub metrics: Option<SocketAddr>,
    /// 0 pauses the background, 50 takes the capacity and yields to the guest, 100 never yields
    #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(..=100))]
    pub replication_rate: Option<u8>,
    /// Absolute limit of everything that is sent, in bytes per second; suffixes K M G
    #[arg(long, value_name = "BYTES", value_parser = parse_byte_size)]
    pub bytes_per_second_max: Option<ByteSize>,
    /// Compression of what is sent; `auto` takes what pays on this link, and is what a source
    /// begins with. Not given, it stays as it was
    #[arg(long, value_name = "CODEC", value_enum)]
    pub codec: Option<CodecChoice>,
    /// Do not read both sides again from their disks before the job is ready
    #[arg(long)]
    pub no_scrub: bool,
    /// The disks were written while no source ran: compare everything with the receiver by hash
    #[arg(long)]
    pub compare_all: bool,
    /// Above 0, guest writes that dirty clean blocks are paced
    #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(..=100))]
    pub write_throttling: Option<u8>,
    /// Most that throttling may add to one write, in milliseconds
    #[arg(long, value_name = "MS")]
    pub added_write_latency_ms_max: Option<u32>,
}

/// Which codec a source uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodecChoice {
    /// Chosen by what pays.
    Auto,
    /// Nothing is compressed.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl CodecChoice {
    /// The codec, if it is fixed.
    pub fn fixed(self) -> Option<Codec> {
        match self {
            Self::Auto => None,
            Self::None => Some(Codec::None),
            Self::Lz4 => Some(Codec::Lz4),
            Self::Zstd => Some(Codec::Zstd),
        }
    }
}

/// `replicator tap`
#[derive(Args)]
#[command(after_help = "Examples:
  # Serve a raw image over NBD, nothing else
  replicator tap --disk app.raw --socket /run/app.nbd

  # Track what is written as a replication would, without a receiver
  replicator tap --disk app.raw --socket /run/app.nbd --track --control /run/app.ctl
  replicator ctl /run/app.ctl status")]
pub struct TapArgs {
    /// Raw image or block device
    #[arg(long, value_name = "FILE")]
    pub disk: PathBuf,
    /// Unix socket where it is served by NBD
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Keep the dirty map as in production; its state lies beside the disk
    #[arg(long)]
    pub track: bool,
    /// Socket for `replicator ctl`
    #[arg(long, value_name = "PATH", requires = "track")]
    pub control: Option<PathBuf>,
    /// Serve Prometheus metrics over HTTP; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "[IP:]PORT", value_parser = metrics_address)]
    pub metrics: Option<SocketAddr>,
}

/// `replicator ctl`
#[derive(Args)]
#[command(after_help = "Examples:
  replicator ctl /var/lib/landfall-app/control.sock status
  replicator ctl /run/app.ctl dials --replication-rate 20 --bytes-per-second-max 10M
  replicator ctl /run/app.ctl finish    # after the guest has shut down

The exit status is 0 when it was done, 1 when it was refused or did not come about.
Answers are JSON on standard output, one document a line.")]
pub struct CtlArgs {
    /// Control socket of the source or tap
    #[arg(value_name = "CONTROL_SOCKET")]
    pub socket: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// `replicator verify`
#[derive(Args)]
#[command(after_help = "Examples:
  # Read both sides of a running replication again; blocks the guest writes are retried
  replicator verify --control /var/lib/landfall-app/control.sock

  # Compare two disks of this host that nobody writes to
  replicator verify --disk app.raw --against copy.raw

Prints the verdict as JSON. The exit status is 0 only when both sides are equal.")]
pub struct VerifyArgs {
    /// Control socket of the source of a running replication
    #[arg(long, value_name = "PATH", required_unless_present = "disk")]
    pub control: Option<PathBuf>,
    /// A raw image or block device
    #[arg(long, value_name = "FILE", conflicts_with = "control", requires = "against")]
    pub disk: Option<PathBuf>,
    /// The one it shall be equal to
    #[arg(long, value_name = "FILE", requires = "disk")]
    pub against: Option<PathBuf>,
}

/// What `ctl` can do.
#[derive(Subcommand)]
pub enum CtlCommand {
    /// State, rates and counters
    Status,
    /// The status every second and at every change, until interrupted
    Follow,
    /// Prometheus metrics as text
    Metrics,
    /// The dials in force, after changing those that are given
    Dials(DialArgs),
    /// Stop sending; the connection stays and writes are still tracked
    Pause,
    /// Go on after a pause
    Resume,
    /// Before a snapshot of the disks: hold the guest's writes and make the files complete. They go
    /// on by themselves after 20 seconds
    SnapshotPause,
    /// After it: go on, also where a disk's name stands for another file now
    SnapshotResume,
    /// Read both sides again from their disks and compare; writes nothing. Waits for the verdict
    Verify,
    /// Send the rest and compare both sides' hash trees; no NBD client may be connected
    Freeze,
    /// Freeze, then make the receiver the owner of the disks for good
    Finish,
    /// Cancel a freeze: the source goes on
    Unfreeze,
}

/// Dials to change.
#[derive(Args)]
pub struct DialArgs {
    /// 0 pauses the background, 50 takes the capacity and yields to the guest, 100 never yields
    #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(..=100))]
    pub replication_rate: Option<u8>,
    /// Absolute limit of everything that is sent, in bytes per second, or `none`
    #[arg(long, value_name = "BYTES|none", value_parser = parse_limit)]
    pub bytes_per_second_max: Option<Limit>,
    /// Above 0, guest writes that dirty clean blocks are paced
    #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(..=100))]
    pub write_throttling: Option<u8>,
    /// Most that throttling may add to one write, in milliseconds
    #[arg(long, value_name = "MS")]
    pub added_write_latency_ms_max: Option<u32>,
}

/// A limit, or that there shall be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    parse_byte_size(text).map(|size| Limit(Some(size.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_suffixes() {
        for (text, bytes) in [("512", 512), ("64K", 65_536), ("8g", 8 << 30), ("2T", 2 << 40)] {
            assert_eq!(parse_byte_size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in ["", "K", "1.5G", "-1", "99999999999T", "1KB", "ä"] {
            assert!(parse_byte_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_disk_may_say_its_socket_and_may_have_a_colon_in_its_name() {
        let disk = parse_disk("a.raw:/run/a.nbd").unwrap();
        assert_eq!((disk.path, disk.socket), ("a.raw".into(), Some("/run/a.nbd".into())));
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a:b");
        std::fs::write(&odd, "").unwrap();
        let disk = parse_disk(odd.to_str().unwrap()).unwrap();
        assert_eq!((disk.path, disk.socket), (odd, None));
    }

    #[test]
    fn names_are_refused_with_an_example() {
        assert!(numeric_address("localhost:1").unwrap_err().contains("192.0.2.7:32875"));
        assert!(numeric_address("127.0.0.1:1").is_ok());
        assert_eq!(metrics_address("9100").unwrap().to_string(), "127.0.0.1:9100");
    }
}
