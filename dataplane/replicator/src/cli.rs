//! Arguments of every command, and which module carries it out.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use landfall_api::{Uuid, document};

use crate::by_hand::{self, ByteSize, CtlArgs, SourceArgs, TapArgs, VerifyArgs};
use crate::{host, logging, receipt, receiver, source};

#[derive(Parser)]
#[command(version, about = "Landfall data plane: taps, movers and receivers of live disks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Daemon of a source host: one per host, starts a source process per attached VM
    Host(HostArgs),
    /// Taps and movers of one VM; started by the host daemon
    #[command(hide = true)]
    VmSource(VmSourceArgs),
    /// Replicate live disks to a receiver, without a control plane
    Source(SourceArgs),
    /// Receive the disks of one source: in a shadow VM, or by hand
    Receiver(ReceiverArgs),
    /// Serve a disk over NBD, tracking its writes if wanted
    Tap(TapArgs),
    /// Command a running source: status, dials, freeze, finish
    Ctl(CtlArgs),
    /// Print the OpenAPI document of the control API
    Openapi,
    /// Read both sides again and say whether they are equal
    Verify(VerifyArgs),
    /// Check a receipt, without any network
    VerifyReceipt(VerifyReceiptArgs),
}

/// `replicator host`
#[derive(Args)]
pub struct HostArgs {
    /// Address of the control face; numeric, names are never resolved
    #[arg(long)]
    pub address: IpAddr,
    /// Port of the control face
    #[arg(long, default_value_t = 32873)]
    pub port: u16,
    /// Folder that outlives the daemon: identity, attachments, jobs
    #[arg(long)]
    pub state: PathBuf,
    /// Unix socket of the hypervisor face
    #[arg(long)]
    pub hypervisor_socket: PathBuf,
    /// JSON file with the host's advanced options
    #[arg(long)]
    pub options: PathBuf,
}

/// `replicator vm-source`
#[derive(Args)]
pub struct VmSourceArgs {
    /// The VM
    #[arg(long)]
    pub vm_uuid: Uuid,
    /// Folder of this VM within the host's state
    #[arg(long)]
    pub state: PathBuf,
    /// Unix socket the host daemon commands it by
    #[arg(long)]
    pub control: PathBuf,
    /// Folder for the NBD sockets
    #[arg(long)]
    pub sockets: PathBuf,
}

/// `replicator receiver`
#[derive(Args)]
#[command(after_help = "Examples:
  # By hand: makes app.raw (sparse) and site.pair; copy site.pair to the source host
  replicator receiver --disk app.raw --capacity 20G --listen 192.0.2.7:32875 \\
      --state /var/lib/landfall-app --pair site.pair

  # In a shadow VM: enrolled by the control plane
  replicator receiver --config config.json --address 192.0.2.7 --state state --disks disks

Ended or killed, it goes on where it was when it is started with the same --state.
See docs/by-hand.md.")]
pub struct ReceiverArgs {
    /// Destination disk: raw image or block device. Repeatable; the order is that of the source
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    disk: Vec<PathBuf>,
    /// Capacity of a disk that is not there yet; suffixes K M G T. Once for all, or once each
    #[arg(long, value_name = "BYTES", value_parser = by_hand::parse_byte_size, requires = "disk")]
    capacity: Vec<ByteSize>,
    /// Take the capacity from this file instead
    #[arg(long, value_name = "FILE", requires = "disk", conflicts_with = "capacity")]
    like: Vec<PathBuf>,
    /// Address for the source's connections; numeric, port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", value_parser = by_hand::numeric_address,
        required_unless_present = "config")]
    listen: Option<SocketAddr>,
    /// Serve Prometheus metrics over HTTP; a port alone is one of 127.0.0.1
    #[arg(long, value_name = "[IP:]PORT", value_parser = by_hand::metrics_address,
        requires = "disk")]
    metrics: Option<SocketAddr>,
    /// Made at the first start; copy it to the source host
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pair: Option<PathBuf>,
    /// Folder that outlives the process: identity, have-map, hash tree, journal
    #[arg(long)]
    pub state: PathBuf,
    /// Configuration from the configuration ISO
    #[arg(long, conflicts_with_all = ["disk", "listen", "pair"], requires_all = ["address", "disks"])]
    config: Option<PathBuf>,
    /// Address to listen on; numeric
    #[arg(long, requires = "config")]
    address: Option<IpAddr>,
    /// Port for control and data
    #[arg(long, default_value_t = 32875)]
    port: u16,
    /// Folder with one link per destination disk, named by its UUID
    #[arg(long, requires = "config")]
    disks: Option<PathBuf>,
}

/// The two ways a receiver begins.
enum ReceiverForm {
    Configured(receiver::Configured),
    ByHand(by_hand::ReceiverByHand),
}

impl ReceiverArgs {
    fn form(self) -> Option<ReceiverForm> {
        if let Some(config) = self.config {
            return Some(ReceiverForm::Configured(receiver::Configured {
                config,
                address: SocketAddr::new(self.address?, self.port),
                state: self.state,
                disks: self.disks?,
            }));
        }
        Some(ReceiverForm::ByHand(by_hand::ReceiverByHand {
            disks: self.disk,
            capacities: self.capacity,
            like: self.like,
            listen: self.listen?,
            metrics: self.metrics,
            state: self.state,
            pair: self.pair?,
        }))
    }
}

/// `replicator verify-receipt`
#[derive(Args)]
#[command(after_help = "Examples:\n  replicator verify-receipt receipt.json\n  \
    replicator verify-receipt receipt.json --trust 5f0c...e2 --disk app-01-flat.vmdk")]
pub struct VerifyReceiptArgs {
    /// The receipt
    pub file: PathBuf,
    /// SHA-256 fingerprint of the issuer's public key, hexadecimal
    #[arg(long)]
    pub trust: Option<String>,
    /// Raw disk whose hash tree is computed and looked up in the receipt; may be repeated
    #[arg(long)]
    pub disk: Vec<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    let result = match command {
        Command::Openapi => {
            print!("{}", document::openapi_json());
            return ExitCode::SUCCESS;
        }
        Command::VerifyReceipt(args) => return receipt::run(&args),
        Command::Host(args) => {
            logging::start("host");
            serve(host::run(args))
        }
        Command::VmSource(args) => {
            logging::start("source");
            landfall_io::tune_allocator();
            serve(source::run(args))
        }
        Command::Receiver(args) => match args.form() {
            Some(ReceiverForm::Configured(args)) => {
                logging::start("receiver");
                landfall_io::step_back();
                landfall_io::tune_allocator();
                serve(receiver::run(args))
            }
            Some(ReceiverForm::ByHand(args)) => {
                logging::start_for_people();
                landfall_io::step_back();
                landfall_io::tune_allocator();
                return by_hand_outcome(serve(by_hand::run_receiver(args)));
            }
            None => Err(landfall_api::Problem::bad_request("an argument is missing; see --help")),
        },
        Command::Source(args) => {
            logging::start_for_people();
            landfall_io::tune_allocator();
            return by_hand_outcome(serve(by_hand::run_source(args)));
        }
        Command::Tap(args) => {
            logging::start_for_people();
            landfall_io::tune_allocator();
            return by_hand_outcome(serve(by_hand::run_tap(args)));
        }
        Command::Ctl(args) => return by_hand_outcome(serve(by_hand::run_ctl(args))),
        Command::Verify(args) => return by_hand_outcome(serve(by_hand::run_verify(args))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            tracing::error!(code = %problem.code, remedy = problem.remedy, "{}", problem.detail);
            eprintln!("replicator: {}. {}", problem.detail, problem.remedy);
            ExitCode::FAILURE
        }
    }
}

/// What a command's end means for the exit status.
trait Outcome {
    fn exit_code(self) -> ExitCode;
}

impl Outcome for () {
    fn exit_code(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl Outcome for ExitCode {
    fn exit_code(self) -> ExitCode {
        self
    }
}

/// What a person at a terminal reads when it did not work.
fn by_hand_outcome<T: Outcome>(result: Result<T, landfall_api::Problem>) -> ExitCode {
    match result {
        Ok(done) => done.exit_code(),
        Err(problem) => {
            eprintln!("replicator: {}.\n  {}", problem.detail, problem.remedy);
            ExitCode::FAILURE
        }
    }
}

fn serve<T>(
    service: impl Future<Output = Result<T, landfall_api::Problem>>,
) -> Result<T, landfall_api::Problem> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| landfall_api::Problem::storage("the runtime cannot start", &error))?
        .block_on(service)
}
