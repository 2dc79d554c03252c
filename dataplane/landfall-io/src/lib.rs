//! Replication over threads, sockets and files: the tap in front of a disk, the source of a VM
//! and the receiver. What to do is decided in `landfall-core`; this crate does it.
//!
//! It must not know the control API's transport, certificates' issue or process management.
//! Start reading in `source/vm.rs` and `receiver/mod.rs`.

mod allocator;
mod buffers;
mod clock;
mod cold_reader;
mod disk_file;
pub mod fault;
mod have_file;
mod huge_pages;
mod idle;
mod link;
mod meter;
mod metered;
mod metrics_form;
mod parallel;
mod priority;
mod receiver;
pub mod recording;
mod records;
mod slots;
mod source;
pub mod stats;
mod storage;
mod tcp_info;
mod tls;

pub use allocator::tune_allocator;
pub use landfall_wire::Codec;
pub use metered::MeteredExport;
pub use priority::step_back;
pub use receiver::Receiver;
pub use source::{Kept, KeptDisk, SourceVm, forsake, is_sealed, read_map};
pub use tls::Secured;

/// Everything here is refused with a problem document.
pub type Result<T> = std::result::Result<T, landfall_api::Problem>;
