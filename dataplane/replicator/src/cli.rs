//! Arguments of every command, and which module carries it out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use landfall_api::{Uuid, document};

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
    Source(SourceArgs),
    /// Receiver in a shadow VM
    Receiver(ReceiverArgs),
    /// Print the OpenAPI document of the control API
    Openapi,
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

/// `replicator source`
#[derive(Args)]
pub struct SourceArgs {
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
pub struct ReceiverArgs {
    /// Configuration from the configuration ISO
    #[arg(long)]
    pub config: PathBuf,
    /// Address to listen on; numeric
    #[arg(long)]
    pub address: IpAddr,
    /// Port for control and data
    #[arg(long, default_value_t = 32875)]
    pub port: u16,
    /// Folder that outlives the process: identity, have-map, hash tree, journal
    #[arg(long)]
    pub state: PathBuf,
    /// Folder with one link per destination disk, named by its UUID
    #[arg(long)]
    pub disks: PathBuf,
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
        Command::Source(args) => {
            logging::start("source");
            landfall_io::tune_allocator();
            serve(source::run(args))
        }
        Command::Receiver(args) => {
            logging::start("receiver");
            landfall_io::tune_allocator();
            serve(receiver::run(args))
        }
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

fn serve(
    service: impl Future<Output = Result<(), landfall_api::Problem>>,
) -> Result<(), landfall_api::Problem> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| landfall_api::Problem::storage("the runtime cannot start", &error))?
        .block_on(service)
}
